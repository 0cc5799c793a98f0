/* Whom a host of a secured session believes: certificates, the session file, the secret. */
#define _POSIX_C_SOURCE 200809L
#include "secure.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROOTS = 8, DENIED = 128, FILE_MOST = 65536, VALUES = 32, LEEWAY = 300 };

struct own own;
uint8_t rp_keys[RPS][32];
static uint8_t roots[ROOTS][32], denied[DENIED][8];
static int root_count, denied_count;

/* Certificates: X.509 in one form (security.md, Certificate). libcrypto reads more than that, so
   what it read is written again and compared, and what it takes over as it was is looked at. */

static bool is_ed25519(const X509_ALGOR *algorithm) {
    const ASN1_OBJECT *object;
    int parameters;
    X509_ALGOR_get0(&object, &parameters, NULL, algorithm);
    return OBJ_obj2nid(object) == NID_ED25519 && parameters == V_ASN1_UNDEF;
}

/* One common name, and nothing else; give its text. */
static struct span common_name(const X509_NAME *name) {
    const uint8_t *der;
    size_t length;
    if (!X509_NAME_get0_der(name, &der, &length) || length < 14 || length > 13 + 64)
        return SPAN(NULL, 0);
    uint8_t n = (uint8_t)(length - 13);
    const uint8_t head[] = {0x30, n + 11, 0x31, n + 9, 0x30, n + 7, 6, 3, 0x55, 4, 3, 0x0c, n};
    return memcmp(der, head, 13) == 0 ? SPAN(der + 13, n) : SPAN(NULL, 0);
}

/* The seconds from now to a time, if that is written as RFC 5280 has it. */
static bool seconds_to(const ASN1_TIME *when, int64_t *seconds) {
    const char *text = (const char *)ASN1_STRING_get0_data(when);
    bool four = ASN1_STRING_type(when) == V_ASN1_GENERALIZEDTIME; /* digits of the year */
    int days, rest;
    if (ASN1_STRING_length(when) != (four ? 15 : 13) || (four && strncmp(text, "2050", 4) < 0) ||
        text[four ? 14 : 12] != 'Z' || !ASN1_TIME_diff(&days, &rest, NULL, when))
        return false;
    *seconds = (int64_t)days * 86400 + rest;
    return true;
}

/* The first 10 bytes of a root's hash in base32. */
static void fingerprint(const uint8_t root[32], char to[16]) {
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t hash[32];
    sha256(hash, SPAN(root, 32), SPAN("", 0));
    for (int i = 0; i < 16; i++)
        to[i] = digits[get(hash + i / 8 * 5, 5) >> (35 - i % 8 * 5) & 31];
}

/* The extensions: no authority, and the grant; both critical. */
static bool read_extensions(struct certificate *to, const X509 *x) {
    char name[64] = "";
    X509_EXTENSION *basic = X509_get_ext(x, 0), *grant = X509_get_ext(x, 1);
    if (X509_get_ext_count(x) != 2 || !X509_EXTENSION_get_critical(basic) ||
        !X509_EXTENSION_get_critical(grant))
        return false;
    const ASN1_STRING *constraints = X509_EXTENSION_get_data(basic);
    const ASN1_STRING *granted = X509_EXTENSION_get_data(grant);
    const uint8_t *at = ASN1_STRING_get0_data(granted);
    size_t left = (size_t)ASN1_STRING_length(granted), session = strlen(options.session);
    OBJ_obj2txt(name, sizeof name, X509_EXTENSION_get_object(grant), 1);
    if (OBJ_obj2nid(X509_EXTENSION_get_object(basic)) != NID_basic_constraints ||
        ASN1_STRING_length(constraints) != 2 ||
        memcmp(ASN1_STRING_get0_data(constraints), "\x30", 2) != 0 ||
        strcmp(name, "2.25.207133978391716109281991689872162480950.1") != 0 ||
        left < 15 + session + 2 + 32 + 1 || at[14] != session ||
        memcmp(at + 15, options.session, session) != 0)
        return false;
    to->capabilities = (uint32_t)get(at, 4);
    to->out_degree = (uint16_t)get(at + 4, 2);
    at += 15 + session;
    to->group_count = at[34];
    if (to->capabilities > 31 || get(at, 2) != 32 || to->group_count > 16 ||
        left != 15 + session + 35 + 16 * to->group_count)
        return false;
    memcpy(to->static_key, at + 2, 32);
    memcpy(to->groups, at + 35, 16 * to->group_count);
    return true;
}

/* Whether bytes are an X.509 certificate in just the form that it has to have. */
static bool has_form(X509 *x, const uint8_t *bytes, size_t length) {
    uint8_t *again = NULL;
    const ASN1_BIT_STRING *signature;
    const X509_ALGOR *algorithm;
    X509_ALGOR *key_algorithm;
    const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
    i2d_re_X509_tbs(x, &again); /* from now on it is written anew, not as it came */
    OPENSSL_free(again);
    again = NULL;
    int written = i2d_X509(x, &again);
    bool is_same = written > 0 && (size_t)written == length && memcmp(again, bytes, length) == 0;
    OPENSSL_free(again);
    X509_get0_signature(&signature, &algorithm, x);
    X509_PUBKEY_get0_param(NULL, NULL, NULL, &key_algorithm, X509_get_X509_PUBKEY(x));
    return is_same && X509_get_version(x) == 2 && is_ed25519(algorithm) &&
           is_ed25519(X509_get0_tbs_sigalg(x)) && is_ed25519(key_algorithm) &&
           ASN1_STRING_type(serial) == V_ASN1_INTEGER && ASN1_STRING_length(serial) == 8 &&
           *ASN1_STRING_get0_data(serial) >= 0x40 && *ASN1_STRING_get0_data(serial) <= 0x7f &&
           common_name(X509_get_subject_name(x)).length;
}

static bool is_denied(const ASN1_INTEGER *serial) {
    for (int i = 0; i < denied_count; i++)
        if (memcmp(ASN1_STRING_get0_data(serial), denied[i], 8) == 0)
            return true;
    return false;
}

static bool is_signed(X509 *x) {
    struct span issuer = common_name(X509_get_issuer_name(x));
    char name[16];
    for (int i = 0; i < root_count; i++) {
        fingerprint(roots[i], name);
        if (issuer.length != 16 || memcmp(name, issuer.bytes, 16) != 0)
            continue;
        EVP_PKEY *root = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, roots[i], 32);
        bool good = root && X509_verify(x, root) == 1;
        EVP_PKEY_free(root);
        return good;
    }
    return false;
}

/* Read a certificate; false if it is not one of the session that holds now. */
bool trust_certificate(struct certificate *to, const uint8_t *bytes, size_t length) {
    const uint8_t *at = bytes;
    uint8_t hash[32];
    int64_t from, until;
    size_t size = 32;
    X509 *x = length <= CERTIFICATE ? d2i_X509(NULL, &at, (long)length) : NULL;
    bool good = x && is_signed(x) && has_form(x, bytes, length) && read_extensions(to, x) &&
                seconds_to(X509_get0_notBefore(x), &from) && from <= LEEWAY &&
                seconds_to(X509_get0_notAfter(x), &until) && until >= -LEEWAY &&
                !is_denied(X509_get0_serialNumber(x)) && X509_get0_pubkey(x) &&
                EVP_PKEY_get_raw_public_key(X509_get0_pubkey(x), to->key, &size);
    X509_free(x);
    if (!good)
        return false;
    to->until = (int64_t)time(NULL) + until;
    sha256(hash, SPAN(to->key, 32), SPAN("", 0));
    memcpy(to->node, hash, 16);
    return true;
}

/* The credential: certificate, Ed25519 key and X25519 key as PEM, in this order. */
static void read_credential(const char *path) {
    uint8_t public[32], *shown = own.shown;
    size_t size = 32;
    FILE *file = fopen(path, "rb");
    X509 *x = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    EVP_PKEY *signer = x ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = signer ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    int length = key ? i2d_X509(x, NULL) : 0;
    if (length <= 0 || length > CERTIFICATE || EVP_PKEY_get_id(key) != EVP_PKEY_X25519 ||
        !EVP_PKEY_get_raw_private_key(key, own.secret, &size) ||
        !EVP_PKEY_get_raw_public_key(key, own.public, &size) ||
        EVP_PKEY_get_id(signer) != EVP_PKEY_ED25519 ||
        !EVP_PKEY_get_raw_public_key(signer, public, &size))
        fail("%s: no credential", path);
    own.length = (size_t)i2d_X509(x, &shown);
    if (!trust_certificate(&own.certificate, own.shown, own.length) ||
        memcmp(own.certificate.static_key, own.public, 32) != 0 ||
        memcmp(own.certificate.key, public, 32) != 0)
        fail("%s: not a certificate of this session that is valid now", path);
    fclose(file);
    X509_free(x);
    EVP_PKEY_free(signer);
    EVP_PKEY_free(key);
}

/* The session file: of TOML what `dmmp authority` writes, a table's head or NAME = VALUE in a line,
   the value a text, a number or a list of texts. */

static struct { char table[32], name[32], *value; int point; bool used; } values[VALUES];
static int value_count, point_count;

_Noreturn static void refuse(const char *why) {
    fail("%s: not a session file: %s", options.session_file, why);
}

/* The value of a name, as JSON; "" if there is none. */
static const char *value(const char *table, int point, const char *name) {
    for (int i = 0; i < value_count; i++)
        if (values[i].point == point && strcmp(values[i].table, table) == 0 &&
            strcmp(values[i].name, name) == 0) {
            values[i].used = true;
            return values[i].value;
        }
    return "";
}

/* Take the blanks out of a value that are in no text. */
static void tighten(char *text) {
    bool quoted = false;
    char *to = text;
    for (char *from = text; *from; from++) {
        quoted ^= *from == '"';
        if (*from == '\\' || *from < ' ' || *from == 127)
            refuse("it has escapes, or is not ASCII");
        if (quoted || *from != ' ')
            *to++ = *from;
    }
    *to = 0;
}

static void read_values(FILE *file) {
    static char line[FILE_MOST];
    char table[32] = "";
    while (fgets(line, sizeof line, file)) {
        char *equals = strstr(line, " = ");
        line[strcspn(line, "\r\n")] = 0;
        if (*line == '#' || !*line)
            continue;
        if (*line == '[') {
            snprintf(table, sizeof table, "%.31s", line);
            point_count += strcmp(line, "[[rendezvous_points]]") == 0;
            continue;
        }
        if (!equals || value_count == VALUES)
            refuse("a line that is no NAME = VALUE");
        *equals = 0;
        tighten(equals + 3);
        bool at_point = strcmp(table, "[[rendezvous_points]]") == 0;
        if (*value(table, at_point ? point_count : 0, line))
            refuse("a name occurs twice");
        snprintf(values[value_count].table, 32, "%s", table);
        snprintf(values[value_count].name, 32, "%.31s", line);
        values[value_count].point = at_point ? point_count : 0;
        values[value_count].used = false;
        if (!(values[value_count++].value = strdup(equals + 3)))
            fail("no memory");
    }
}

/* Write a table's values as a JSON object, and a separator behind; nothing if there are none. */
static void write_object(FILE *to, const char *table, int point, const char *const *names,
                         const char *separator) {
    for (int i = 0; names[i] && *value(table, point, names[0]); i++)
        fprintf(to, "%s\"%s\":%s", i ? "," : "{", names[i], value(table, point, names[i]));
    fputs(*value(table, point, names[0]) ? separator : "", to);
}

/* Read each "..." of a value as hexadecimal digits of so many bytes. */
static int read_hex(const char *json, uint8_t *to, size_t size, int most) {
    int count = 0;
    for (const char *at = json; (at = strchr(at, '"')); at++, count++) {
        if (count == most || strspn(++at, "0123456789abcdef") != 2 * size || at[2 * size] != '"')
            refuse("no hexadecimal digits, or too many");
        for (size_t i = 0; i < size; i++, at += 2)
            *to++ = (uint8_t)strtoul((char[]){at[0], at[1], 0}, NULL, 16);
    }
    return count;
}

/* What is in a text's quotes. */
static const char *text_of(const char *json, char *to, size_t room) {
    size_t length = strlen(json);
    if (length < 2 || length > room || *json != '"' || strchr(json + 1, '"') != json + length - 1)
        refuse("no text, or too long");
    memcpy(to, json + 1, length - 2);
    to[length - 2] = 0;
    return to;
}

/* Write what the file's signature covers: all the other values, as JSON in alphabetical order. */
static void write_signed(FILE *to) {
    static const char *const contact[] = {"address", "key", NULL};
    static const char *const denial[] = {"ed25519", "number", "serials", NULL};
    fputs("DMMP session file", to);
    fputc(0, to);
    fputs("{", to);
    if (*value("[authority]", 0, "key"))
        fputs("\"authority\":", to);
    write_object(to, "[authority]", 0, contact, "},");
    if (*value("[denied]", 0, "serials"))
        fputs("\"denied\":", to);
    write_object(to, "[denied]", 0, denial, "},");
    fputs("\"rendezvous_points\":[", to);
    for (int i = 1; i <= point_count; i++)
        write_object(to, "[[rendezvous_points]]", i, contact, i < point_count ? "}," : "}");
    fprintf(to, "],\"roots\":%s,\"serial\":%s,\"session\":%s}", value("", 0, "roots"),
            value("", 0, "serial"), value("", 0, "session"));
}

static void read_session(const char *path) {
    static char session[65];
    char encoded[96], address[300], *text;
    uint8_t signature[66];
    bool is_good = false;
    size_t length;
    FILE *file = fopen(path, "rb"), *covered = open_memstream(&text, &length);
    if (!file || !covered)
        fail("%s: cannot be read", path);
    read_values(file);
    fclose(file);
    write_signed(covered);
    fclose(covered);
    text_of(value("[signature]", 0, "ed25519"), encoded, sizeof encoded);
    root_count = read_hex(value("", 0, "roots"), roots[0], 32, ROOTS);
    denied_count = read_hex(value("[denied]", 0, "serials"), denied[0], 8, DENIED);
    if (strlen(encoded) != 88 || EVP_DecodeBlock(signature, (uint8_t *)encoded, 88) != 66)
        refuse("no signature");
    for (int i = 0; i < root_count; i++)
        is_good |= verify(roots[i], signature, SPAN(text, length), SPAN("", 0));
    for (int i = 0; i < value_count; i++)
        is_good &= values[i].used;
    if (!is_good || !point_count || point_count > RPS)
        refuse("no root named in it signed it, or what is in it is not known here");
    for (int i = 0; i < point_count; i++) {
        text_of(value("[[rendezvous_points]]", i + 1, "address"), address, sizeof address);
        if (!parse_endpoint(address, 0, &options.rps[i]) ||
            read_hex(value("[[rendezvous_points]]", i + 1, "key"), rp_keys[i], 32, 1) != 1)
            fail("%s: %s: no address, or no key", path, address);
    }
    text_of(value("", 0, "session"), session, sizeof session);
    if (options.session && strcmp(options.session, session) != 0)
        fail("%s is for the session %s", path, session);
    options.session = session;
    options.rp_count = point_count;
    free(text);
    for (int i = 0; i < value_count; i++)
        free(values[i].value);
}

static void read_secret(const char *path) {
    uint8_t salt[32], extracted[32], seed[32];
    char text[258];
    FILE *file = fopen(path, "rb");
    size_t length = file ? fread(text, 1, sizeof text, file) : 0;
    length -= length && text[length - 1] == '\n';
    if (length < 16 || length > 256 || !options.session)
        fail("%s: no secret of 16 to 256 bytes, or no --session", path);
    fclose(file);
    sha256(salt, SPAN(options.session, strlen(options.session)), SPAN("", 0));
    hmac(extracted, SPAN(salt, 32), SPAN(text, length));
    expand(own.secret, extracted, "DMMP shared secret: static key", 30);
    expand(seed, extracted, "DMMP shared secret: signing key", 31);
    if (!public_of(EVP_PKEY_X25519, own.public, own.secret) ||
        !public_of(EVP_PKEY_ED25519, own.signer, seed))
        fail("libcrypto: no keys");
    for (int i = 0; i < RPS; i++)
        memcpy(rp_keys[i], own.public, 32);
    own.certificate.capabilities = 31;
    OPENSSL_cleanse(text, sizeof text);
}

void trust_start(void) {
    bool shared = options.security == SHARED_SECRET;
    if (shared ? !options.secret_file : !options.session_file || !options.credential)
        fail("%s; see --help", shared ? "--secret-file is missing"
                                      : "--session-file and --credential are needed");
    if (shared) {
        read_secret(options.secret_file);
        return;
    }
    read_session(options.session_file);
    read_credential(options.credential);
}
