/* Whom a host of a secured session believes: certificates, the session file, the secret. */
#include "secure.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROOTS = 8, DENIED = 128, FILE_MOST = 65536, LEEWAY = 300 };

struct own own;
uint8_t rp_keys[RPS][32];
static uint8_t roots[ROOTS][32], denied[DENIED][8];
static int root_count, denied_count;

/* Certificates: one form, so one walk over it (security.md, Certificate) */

struct walk { const uint8_t *at, *end; bool bad; };

static const uint8_t *pass(struct walk *w, size_t length)
{
    const uint8_t *at = w->at;
    if (w->bad || length > (size_t)(w->end - w->at)) {
        w->bad = true;
        return NULL;
    }
    w->at += length;
    return at;
}

static void expect(struct walk *w, const char *what, size_t length)
{
    const uint8_t *at = pass(w, length);
    w->bad |= at && memcmp(at, what, length) != 0;
}
#define EXPECT(w, text) expect(w, text, sizeof text - 1)

/* Step over the head of an element; give a walk over its content. */
static struct walk enter(struct walk *w, char tag)
{
    expect(w, &tag, 1);
    const uint8_t *at = pass(w, 1);
    size_t length = at ? *at : 0;
    if (length > 127) {
        const uint8_t *more = pass(w, length & 3);
        length = more ? get(more, length & 3) : 0;
        w->bad |= (*at & 0x7c) != 0 || length < 128 || ((*at & 3) == 2 && length < 256);
    }
    const uint8_t *content = pass(w, length);
    return (struct walk){content, content ? content + length : NULL, w->bad};
}

static uint64_t number(struct walk *w, size_t size)
{
    const uint8_t *at = pass(w, size);
    return at ? get(at, size) : 0;
}

/* A time in seconds since 1970, out of 17 0d YYMMDDHHMMSSZ, or 18 0f with four digits of year. */
static int64_t a_time(struct walk *w)
{
    int part[7] = {0};
    bool four = w->at < w->end && *w->at == 0x18;
    struct walk text = enter(w, four ? 0x18 : 0x17);
    for (int i = four ? 0 : 1; i < 7; i++) {
        const uint8_t *digits = pass(&text, 2);
        if (!digits || !isdigit(digits[0]) || !isdigit(digits[1])) {
            w->bad = true;
            return 0;
        }
        part[i] = (digits[0] - '0') * 10 + digits[1] - '0';
    }
    EXPECT(&text, "Z");
    w->bad |= text.bad || text.at != text.end;
    int64_t year = four ? part[0] * 100 + part[1] : part[1] + (part[1] < 50 ? 2000 : 1900);
    int64_t month = part[2];
    year -= month <= 2; /* days since 1970, the year beginning in March */
    int64_t era_day = 365 * year + year / 4 - year / 100 + year / 400 +
                      (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + part[3] - 719469;
    return era_day * 86400 + part[4] * 3600 + part[5] * 60 + part[6];
}

static void fingerprint(const uint8_t root[32], char to[17])
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567"; /* base32 */
    uint8_t hash[32];
    sha256(hash, SPAN(root, 32), SPAN("", 0));
    for (int i = 0; i < 16; i++)
        to[i] = digits[get(hash + i / 8 * 5, 5) >> (35 - i % 8 * 5) & 31];
    to[16] = 0;
}

static void read_grant(struct walk w, struct certificate *to, bool *bad)
{
    to->capabilities = (uint32_t)number(&w, 4);
    to->out_degree = (uint16_t)number(&w, 2);
    number(&w, 8);
    size_t length = (size_t)number(&w, 1);
    w.bad |= to->capabilities > 31 || length > 64 || length != strlen(options.session);
    expect(&w, options.session, length);
    EXPECT(&w, "\x00\x20");
    const uint8_t *key = pass(&w, 32);
    if (key)
        memcpy(to->static_key, key, 32);
    to->group_count = (int)number(&w, 1);
    w.bad |= to->group_count > 16;
    for (int i = 0; !w.bad && i < to->group_count; i++) {
        const uint8_t *group = pass(&w, 16);
        if (group)
            memcpy(to->groups[i], group, 16);
    }
    *bad |= w.bad || w.at != w.end;
}

/* What a certificate's form gives: its parts, and what its signature covers. */
struct parts { const uint8_t *serial, *issuer, *key, *signature; struct span body; };

/* Walk over a certificate; false if it has not exactly the one form. */
static bool read_form(struct certificate *to, struct parts *p, struct walk w)
{
    bool bad = w.end - w.at < 4 || w.end - w.at > CERTIFICATE || w.at[1] != 0x82;
    struct walk whole = enter(&w, 0x30), names;
    p->body.bytes = whole.at;
    struct walk body = enter(&whole, 0x30);
    p->body.length = body.bad ? 0 : (size_t)(whole.at - p->body.bytes);
    EXPECT(&body, "\xa0\x03\x02\x01\x02\x02\x08");
    p->serial = pass(&body, 8);
    EXPECT(&body, "\x30\x05\x06\x03\x2b\x65\x70");
    EXPECT(&body, "\x30\x1b\x31\x19\x30\x17\x06\x03\x55\x04\x03\x0c\x10");
    p->issuer = pass(&body, 16);
    names = enter(&body, 0x30);
    to->from = a_time(&names);
    to->until = a_time(&names);
    bad |= names.bad || names.at != names.end;
    names = enter(&body, 0x30);
    names = enter(&names, 0x31);
    names = enter(&names, 0x30);
    EXPECT(&names, "\x06\x03\x55\x04\x03");
    names = enter(&names, 0x0c);
    bad |= names.bad || names.at == names.end || names.end - names.at > 64;
    EXPECT(&body, "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00");
    p->key = pass(&body, 32);
    names = enter(&body, '\xa3');
    names = enter(&names, 0x30);
    EXPECT(&names, "\x30\x0c\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x02\x30\x00");
    struct walk grant = enter(&names, 0x30);
    EXPECT(&grant, "\x06\x15\x69\x82\xb7\xd4\xc6\xe6\xe4\xb4\xea\xd1\xaf\xaf\xb9\xa4\xba\x8e"
                   "\xc3\xf3\xc6\x36\x01\x01\x01\xff");
    grant = enter(&grant, 0x04);
    bad |= names.bad || names.at != names.end || body.at != body.end || grant.bad;
    EXPECT(&whole, "\x30\x05\x06\x03\x2b\x65\x70\x03\x41\x00");
    p->signature = pass(&whole, 64);
    bad |= w.bad || w.at != w.end || whole.bad || body.bad || whole.at != whole.end;
    if (!bad)
        read_grant(grant, to, &bad);
    return !bad && p->serial[0] >= 0x40 && p->serial[0] <= 0x7f;
}

/* Read a certificate; false if it is not one of the session that holds now. */
bool trust_certificate(struct certificate *to, const uint8_t *bytes, size_t length)
{
    struct parts p;
    uint8_t hash[32];
    char name[17];
    int64_t present = (int64_t)time(NULL);
    if (!read_form(to, &p, (struct walk){bytes, bytes + length, false}) ||
        present < to->from - LEEWAY || present > to->until + LEEWAY)
        return false;
    for (int i = 0; i < denied_count; i++)
        if (memcmp(p.serial, denied[i], 8) == 0)
            return false;
    memcpy(to->key, p.key, 32);
    memcpy(to->serial, p.serial, 8);
    sha256(hash, SPAN(p.key, 32), SPAN("", 0));
    memcpy(to->node, hash, 16);
    for (int i = 0; i < root_count; i++) {
        fingerprint(roots[i], name);
        if (memcmp(name, p.issuer, 16) == 0 &&
            verify(roots[i], p.signature, p.body, SPAN("", 0)))
            return true;
    }
    return false;
}

/* Files */

static char *read_file(const char *path, size_t most)
{
    char *text = calloc(1, most + 1);
    FILE *file = fopen(path, "rb");
    if (!text || !file || fread(text, 1, most + 1, file) > most || ferror(file))
        fail("%s: cannot be read, or is too long", path);
    fclose(file);
    return text;
}

static size_t from_base64(uint8_t *to, size_t room, const char *text, size_t length)
{
    char clean[4096] = "";
    uint8_t bytes[3072 + 3];
    size_t count = 0, padding = 0;
    for (size_t i = 0; i < length && count < sizeof clean; i++)
        if (!isspace((unsigned char)text[i]))
            clean[count++] = text[i];
    int got = EVP_DecodeBlock(bytes, (const uint8_t *)clean, (int)count);
    while (padding < 2 && count > padding && clean[count - 1 - padding] == '=')
        padding++;
    if (count == sizeof clean || got < (int)padding || (size_t)got - padding > room)
        return 0;
    memcpy(to, bytes, (size_t)got - padding);
    return (size_t)got - padding;
}

static bool from_hex(uint8_t *to, size_t size, const char *text)
{
    for (size_t i = 0; i < 2 * size; i++)
        if (!isdigit((unsigned char)text[i]) && !(text[i] >= 'a' && text[i] <= 'f'))
            return false;
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)strtoul((char[]){text[2 * i], text[2 * i + 1], 0}, NULL, 16);
    return !text[2 * size];
}

/* The credential: certificate, Ed25519 key and X25519 key as PEM, in this order. */
static void read_credential(void)
{
    const char *path = options.credential;
    char *text = read_file(path, FILE_MOST), *at = text;
    uint8_t keys[2][64];
    for (int i = 0; i < 3; i++) {
        char *begin = strstr(at, "-----BEGIN "), *head = begin ? strchr(begin, '\n') : NULL;
        char *end = head ? strstr(head, "-----END ") : NULL;
        size_t got = end ? from_base64(i ? keys[i - 1] : own.shown, i ? 64 : CERTIFICATE, head,
                                       (size_t)(end - head)) : 0;
        if (!got || (i && got != 48))
            fail("%s: no credential", path);
        own.length = i ? own.length : got;
        at = end + 9;
    }
    memcpy(own.secret, keys[1] + 16, 32);
    free(text);
    if (!x25519_public(own.public, own.secret) ||
        !trust_certificate(&own.certificate, own.shown, own.length) ||
        memcmp(own.certificate.static_key, own.public, 32) != 0)
        fail("%s: not a certificate of this session that is valid now", path);
}

/* The session file, read as the few forms of TOML that it has: names, strings, numbers, lists. */

static char *line_end(char *at)
{
    return at + strcspn(at, "\n");
}

static char *copy_value(const char *path, char *at, char *to, size_t room)
{
    size_t used = 0;
    int depth = 0;
    bool quoted = false;
    for (;; at++) {
        bool ends = quoted && (*at == '\n' || *at == '\\');
        if (!*at || ends || used + 2 > room || (unsigned char)*at > 126)
            fail("%s: not understood", path);
        if (!quoted && *at == '#')
            at = line_end(at);
        if (!quoted && *at == '\n' && !depth)
            break;
        quoted ^= *at == '"';
        depth += !quoted && *at == '[' ? 1 : !quoted && *at == ']' ? -1 : 0;
        if (!quoted && *at == ']' && used && to[used - 1] == ',')
            used--;
        if (quoted || !isspace((unsigned char)*at))
            to[used++] = *at;
    }
    to[used] = 0;
    return at;
}

/* Take the quotes off. */
static char *unquoted(char *text)
{
    size_t length = strlen(text);
    if (length < 2 || *text != '"' || strchr(text + 1, '"') != text + length - 1)
        fail("%s: %s is not understood", options.session_file, text);
    text[length - 1] = 0;
    return text + 1;
}

/* Read each "..." of a list of hexadecimal numbers. */
static int read_list(const char *json, uint8_t *to, size_t size, int most)
{
    int count = 0;
    for (const char *at = json; (at = strchr(at, '"')); at++) {
        char text[80] = "";
        const char *end = strchr(++at, '"');
        if (!end || (size_t)(end - at) != 2 * size || count == most)
            fail("%s: not understood", options.session_file);
        memcpy(text, at, 2 * size);
        if (!from_hex(to + size * (size_t)count++, size, text))
            fail("%s: not understood", options.session_file);
        at = end;
    }
    return count;
}

/* The values of the session file, in the order in which they are signed. */
enum { AUTHORITY_ADDRESS, AUTHORITY_KEY, DENY_SIGNATURE, DENY_NUMBER, DENY_SERIALS, ROOT_KEYS,
       SERIAL, SESSION, FILE_SIGNATURE, POINTS };
static const struct { const char *table, *name; } fields[POINTS] = {
    {"[authority]", "address"}, {"[authority]", "key"}, {"[denied]", "ed25519"},
    {"[denied]", "number"}, {"[denied]", "serials"}, {"", "roots"}, {"", "serial"},
    {"", "session"}, {"[signature]", "ed25519"}};
static char *values[POINTS + 2 * RPS];

/* Which value a name in a table stands for; a fault if it is none, or was there before. */
static char **value_of(const char *table, const char *name, int points)
{
    int which = 0;
    if (strcmp(table, "[[rendezvous_points]]") == 0) {
        which = POINTS + 2 * (points - 1) + (*name == 'k');
        if (strcmp(name, "address") != 0 && strcmp(name, "key") != 0)
            which = -1;
    } else {
        while (which < POINTS && (strcmp(table, fields[which].table) != 0 ||
                                  strcmp(name, fields[which].name) != 0))
            which++;
        which = which == POINTS ? -1 : which;
    }
    if (which < 0 || values[which])
        fail("%s: %s %s is not understood", options.session_file, table, name);
    return &values[which];
}

/* Write what the file's signature covers: the values as JSON. */
static size_t signed_text(char *to, size_t room, int points)
{
    char **v = values;
    size_t used = (size_t)snprintf(to, room, "{");
    if (v[AUTHORITY_ADDRESS] && v[AUTHORITY_KEY])
        used += (size_t)snprintf(to + used, room - used,
                                 "\"authority\":{\"address\":%s,\"key\":%s},",
                                 v[AUTHORITY_ADDRESS], v[AUTHORITY_KEY]);
    if (v[DENY_SIGNATURE] && v[DENY_NUMBER] && v[DENY_SERIALS])
        used += (size_t)snprintf(to + used, room - used,
                                 "\"denied\":{\"ed25519\":%s,\"number\":%s,\"serials\":%s},",
                                 v[DENY_SIGNATURE], v[DENY_NUMBER], v[DENY_SERIALS]);
    for (int i = 0; i < points; i++)
        used += (size_t)snprintf(to + used, room - used, "%s{\"address\":%s,\"key\":%s}",
                                 i ? "," : "\"rendezvous_points\":[", v[POINTS + 2 * i],
                                 v[POINTS + 2 * i + 1]);
    return used + (size_t)snprintf(to + used, room - used,
                                   "],\"roots\":%s,\"serial\":%s,\"session\":%s}", v[ROOT_KEYS],
                                   v[SERIAL], v[SESSION]);
}

static void read_values(char *at, int *points)
{
    static char value[FILE_MOST];
    char table[64] = "", name[64];
    while (*(at += strspn(at, " \t\r\n"))) {
        size_t length = strcspn(at, " \t=#\r\n");
        snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), at);
        at += length;
        if (*name == '[') {
            memcpy(table, name, sizeof table);
            if (strcmp(table, "[[rendezvous_points]]") == 0 && ++*points > RPS)
                fail("%s: more than %d rendezvous points", options.session_file, RPS);
        }
        if (*name == '[' || !*name) { /* the rest of the line is a comment */
            at += strspn(at, " \t\r");
            if (*at && *at != '#' && *at != '\n')
                fail("%s: %s is not understood", options.session_file, name);
            at = line_end(at);
            continue;
        }
        at += strspn(at, " \t");
        if (*at != '=')
            fail("%s: %s is not understood", options.session_file, name);
        char **place = value_of(table, name, *points);
        at = copy_value(options.session_file, at + 1, value, sizeof value);
        if (!(*place = malloc(strlen(value) + 1)))
            fail("no memory");
        strcpy(*place, value);
    }
}

static void read_session(void)
{
    static char text[2 * FILE_MOST], session[256];
    const char *path = options.session_file;
    char *file = read_file(path, FILE_MOST);
    uint8_t signature[64];
    int points = 0;
    bool whole, signed_by_root = false;
    read_values(file, &points);
    whole = points && values[ROOT_KEYS] && values[SERIAL] && values[SESSION] &&
            values[FILE_SIGNATURE] && strlen(values[SESSION]) < sizeof session;
    for (int i = 0; i < 2 * points; i++)
        whole &= values[POINTS + i] != NULL;
    if (!whole)
        fail("%s: not a session file", path);
    size_t length = signed_text(text, sizeof text, points);
    root_count = read_list(values[ROOT_KEYS], roots[0], 32, ROOTS);
    denied_count = values[DENY_SERIALS] ? read_list(values[DENY_SERIALS], denied[0], 8, DENIED) : 0;
    strcpy(session, unquoted(values[SESSION]));
    char *encoded = unquoted(values[FILE_SIGNATURE]);
    if (from_base64(signature, 64, encoded, strlen(encoded)) != 64)
        fail("%s: not signed", path);
    for (int i = 0; i < root_count; i++)
        signed_by_root |= verify(roots[i], signature, SPAN("DMMP session file\0", 18),
                                 SPAN(text, length));
    if (!signed_by_root)
        fail("%s: no root named in it has signed it", path);
    for (int i = 0; i < points; i++) {
        char *address = unquoted(values[POINTS + 2 * i]);
        if (!parse_endpoint(address, 0, &options.rps[i]) ||
            read_list(values[POINTS + 2 * i + 1], rp_keys[i], 32, 1) != 1)
            fail("%s: %s: no address, or no key", path, address);
    }
    if (options.session && strcmp(options.session, session) != 0)
        fail("%s is for the session %s", path, session);
    options.session = session;
    options.rp_count = points;
    free(file);
    for (int i = 0; i < POINTS + 2 * RPS; i++)
        free(values[i]);
}

static void read_secret(void)
{
    char *text = read_file(options.secret_file, 257);
    uint8_t salt[32], extracted[32], seed[32];
    size_t length = strlen(text);
    length -= length && text[length - 1] == '\n';
    if (length < 16 || length > 256 || !options.session)
        fail("%s: no secret of 16 to 256 bytes, or no --session", options.secret_file);
    sha256(salt, SPAN(options.session, strlen(options.session)), SPAN("", 0));
    hkdf_extract(extracted, SPAN(salt, 32), SPAN(text, length));
    expand(own.secret, extracted, "DMMP shared secret: static key", 30);
    expand(seed, extracted, "DMMP shared secret: signing key", 31);
    if (!x25519_public(own.public, own.secret) || !ed25519_public(own.signer, seed))
        fail("libcrypto: no keys");
    for (int i = 0; i < RPS; i++)
        memcpy(rp_keys[i], own.public, 32);
    own.certificate.capabilities = 31;
    memset(text, 0, length);
    free(text);
}

void trust_start(void)
{
    if (options.security == SHARED_SECRET) {
        if (!options.secret_file)
            fail("--secret-file is missing; see --help");
        read_secret();
        return;
    }
    if (!options.session_file || !options.credential)
        fail("--session-file and --credential are needed; see --help");
    read_session();
    read_credential();
}
