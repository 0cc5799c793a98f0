/* `make check`: reads vectors from standard input, "message hexadecimal-bytes" in each line, and
   holds them against this implementation. check.py makes the lines of tests/vectors/messages. */
#include "leaf.h"
#ifdef SECURE
#include "secure.h"

#include <openssl/evp.h>
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

/* Read, written again, cut off anywhere, and with each byte changed. */
static bool check_form(const uint8_t *bytes, size_t length) {
    static struct message m;
    uint8_t again[MOST], changed[MOST];
    if (!decode(&m, bytes, length) || encode(&m, again, sizeof again) != length ||
        memcmp(bytes, again, length) != 0)
        return false;
    for (size_t i = 0; i < length; i++) {
        uint8_t *copy = malloc(i + 1); /* of just this size, so that a sanitizer sees more */
        memcpy(copy, bytes, i);
        bool taken = decode(&m, copy, i);
        free(copy);
        memcpy(changed, bytes, length);
        for (int bit = 0; bit < 8; bit++) {
            changed[i] = bytes[i] ^ (uint8_t)(1 << bit);
            size_t got = decode(&m, changed, length) ? encode(&m, again, sizeof again) : 0;
            if (got && (got != length || (m.option > 1 && memcmp(changed, again, length) != 0)))
                return false;
        }
        if (taken)
            return false;
    }
    return encode(&m, again, length - 1) == 0;
}

#ifdef SECURE
struct options options = {.security = CERTIFICATES, .session = "demo"};
struct counters counters;
uint64_t now = SECOND;
uint32_t session_id, own_id;
struct own own;
static uint32_t epoch;
bool due(uint64_t at) { return at && at <= now; }
void note(const char *format, ...) { epoch = strncmp(format, "epoch", 5) == 0 ? epoch + 1 : epoch; }
void fail(const char *format, ...) { fputs(format, stderr); exit(1); }
void random_bytes(void *to, size_t size) { memset(to, 7, size); }
uint64_t jitter(uint64_t period) { return period; }
uint64_t after_pause(uint64_t *pause, uint64_t first, uint64_t most) {
    *pause = most;
    return now + first;
}
static answered *on_source, *on_keys;
static struct message said;
struct message *begin(enum option option) {
    said.option = (uint16_t)option;
    return &said;
}
void member_find_source(answered *then) { on_source = then; }
void ask(struct message *m, const struct endpoint *to, int tries, uint64_t wait, answered *then) {
    (void)m, (void)to, (void)tries, (void)wait;
    on_keys = then;
}

static struct { uint8_t first[MOST], secret[5][32], public[5][32], i_key[32], r_key[32]; } call;

static bool mac1_holds(const uint8_t *receiver, const uint8_t *bytes, size_t length) {
    uint8_t key[32], want[16];
    sha256(key, SPAN("dmmp mac1", 9), SPAN(receiver, 32));
    mac(want, SPAN(key, 32), SPAN(bytes, length - 32));
    return memcmp(want, bytes + length - 32, 16) == 0;
}

/* The handshake of the vectors: static keys 0x11.. and 0x22.., ephemeral ones 0x33.. and 0x44.. */
static bool check_handshake(const uint8_t *bytes, size_t length) {
    static struct noise n;
    uint8_t payload[MOST], again[MOST], key[32];
    size_t body = length - HEADER - 32;
    const struct span prologue = SPAN("dmmp example", 12);
    if (get(bytes + 2, 2) == HANDSHAKE_INITIATION) {
        for (int i = 1; i < 5; i++) {
            memset(call.secret[i], 0x11 * i, 32);
            public_of(EVP_PKEY_X25519, call.public[i], call.secret[i]);
        }
        memcpy(call.first, bytes, length);
        noise_begin(&n, prologue, call.public[2]);
        if (!noise_read1(&n, bytes + HEADER, body, call.secret[2], key, payload) ||
            memcmp(key, call.public[1], 32) != 0)
            return false;
        noise_begin(&n, prologue, call.public[2]);
        return noise_write1(&n, again, call.secret[3], call.secret[1], call.public[2],
                            SPAN(payload, body - 80 - TAG)) &&
               memcmp(again, bytes + HEADER, body) == 0 &&
               mac1_holds(call.public[2], bytes, length);
    }
    struct noise other = n;
    if (!noise_read2(&other, bytes + HEADER, body, call.secret[3], call.secret[1], payload) ||
        !noise_write2(&n, again, call.secret[4], call.first + HEADER, call.public[1],
                      SPAN(payload, body - 32 - TAG)))
        return false;
    noise_split(&n, call.i_key, call.r_key);
    return memcmp(again, bytes + HEADER, body) == 0 && mac1_holds(call.public[1], bytes, length);
}

static bool check_sealed(const uint8_t *bytes, size_t length) {
    uint8_t nonce[12] = {0}, plain[MOST], key[32];
    if (get(bytes + 2, 2) == COOKIE_REPLY) {
        const uint8_t *macs = call.first + HEADER + get(call.first + 20, 4) - 32;
        sha256(key, SPAN("dmmp cookie", 11), SPAN(call.public[2], 32));
        return unseal(plain, key, bytes + HEADER, SPAN(macs, 16), SPAN(bytes + 36, 32));
    }
    memcpy(nonce + 4, bytes + 16, 4);
    memcpy(nonce + 8, bytes + 12, 4);
    bool opened = unseal(plain, call.i_key, nonce, SPAN(bytes, HEADER),
                         SPAN(bytes + HEADER, length - HEADER));
    size_t inner = length - HEADER - TAG;
    return opened && (!inner || check_form(plain, inner));
}

/* A member gets its path; when another has gone a Rekey brings it the keys of the next epoch. */
static bool check_keys(const uint8_t *bytes, size_t length) {
    static struct message m;
    static bool first = true;
    if (!decode(&m, bytes, length))
        return false;
    if (m.option == KEY_RESPONSE && first) {
        first = false;
        session_id = m.session;
        own_id = 1;
        keys_tick();
        said.record = (struct record){.host = m.source, .endpoint = {.port = 1}};
        on_source(NULL, &said);
        on_keys(NULL, &m);
        return epoch == 1;
    }
    uint32_t before = epoch;
    if (m.option == REKEY && m.epoch == 1002)
        keys_rekey(m.source, bytes, length);
    return m.option != REKEY || m.epoch != 1002 || epoch == before + 1;
}
#endif

static bool check(const uint8_t *bytes, size_t length) {
    uint64_t option = get(bytes + 2, 2);
#ifdef SECURE
    if (option == HANDSHAKE_INITIATION || option == HANDSHAKE_RESPONSE)
        return check_handshake(bytes, length);
    if (option == COOKIE_REPLY || option == SEALED || option == HOP_SEALED)
        return check_sealed(bytes, length);
    if ((option == KEY_RESPONSE || option == REKEY) && !check_keys(bytes, length))
        return false;
#else
    if ((option >= HANDSHAKE_INITIATION && option <= SEALED) || option == HOP_SEALED)
        return true;
#endif
    return check_form(bytes, length);
}

int main(void) {
    char line[2 * MOST + 64], name[64];
    uint8_t bytes[MOST];
    int count = 0, failed = 0;
    while (fgets(line, sizeof line, stdin)) {
        int used = 0;
        size_t length = 0;
        if (sscanf(line, "%63s %n", name, &used) != 1)
            continue;
        for (unsigned byte; length < MOST && sscanf(line + used, "%2x", &byte) == 1; used += 2)
            bytes[length++] = (uint8_t)byte;
        if (length < HEADER || !check(bytes, length)) {
            printf("failed: %s\n", name);
            failed++;
        }
        count++;
    }
    printf("%d vectors, %d failed\n", count, failed);
    return failed || !count;
}
