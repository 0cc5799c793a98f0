/* Whether data is its origin's, and what it says (spec-notes/security.md, Data). */
#include "secure.h"

#include <string.h>

enum { ORIGINS = 16, DIGEST = 16, MANIFEST_MOST = 82, SPREAD = 512, CHECKS = 2000 };

/* A certificate that was shown for an origin; the first whose heartbeat holds is believed. */
struct origin { uint32_t id; bool believed; uint64_t used; struct certificate certificate; };

static struct origin origins[ORIGINS];

/* Check a signature by an origin, over a label and then `what`: by one that is believed or, if `by`
   is asked for, by any. WAIT without its certificate. */
static enum verdict check(uint32_t origin, const char *label, struct span what,
                          const uint8_t *signature, struct origin **by) {
    static uint64_t since;
    static unsigned checks;
    enum verdict verdict = WAIT;
    struct span tag = SPAN(label, strlen(label));
    checks = now > since + SECOND ? 0 : checks;
    since = checks ? since : now;
    if (checks++ > CHECKS)
        return WAIT;
    if (options.security == SHARED_SECRET)
        return verify(own.signer, signature, tag, what) ? GOOD : BAD;
    for (struct origin *o = origins; o < origins + ORIGINS; o++) {
        if (o->id != origin || !origin || (!by && !o->believed))
            continue;
        verdict = BAD;
        if (!verify(o->certificate.key, signature, tag, what))
            continue;
        if (by)
            *by = o;
        o->used = now;
        return GOOD;
    }
    return verdict;
}

/* Take an origin's certificate; the one in use that is not believed or was used least gives way. */
void proof_credential(const uint8_t *bytes, size_t length) {
    static struct message m;
    struct certificate c;
    struct origin *slot = origins;
    bool is_believed = false;
    if (!decode(&m, bytes, length) || !m.source ||
        !trust_certificate(&c, m.octets.bytes, m.octets.length) ||
        !(c.capabilities & MAY_BE_SOURCE))
        return;
    for (struct origin *o = origins; o < origins + ORIGINS; o++) {
        if (o->id == m.source && memcmp(o->certificate.key, c.key, 32) == 0) {
            if (c.until > o->certificate.until) /* renewed, for the same key */
                o->certificate = c;
            return;
        }
        is_believed |= o->id == m.source && o->believed;
        if (o->id == m.source && !o->believed)
            o->used = 0; /* the first to go */
        slot = o->used < slot->used ? o : slot;
    }
    if (!is_believed)
        *slot = (struct origin){m.source, false, now, c};
}

enum verdict proof_heartbeat(const struct message *m, const uint8_t *bytes, size_t length) {
    static const uint8_t nowhere[16] = NOWHERE;
    struct origin *by = NULL;
    if (!m->signature || m->signature != bytes + length - SIGNATURE)
        return BAD;
    enum verdict verdict = check(m->source, "dmmp heartbeat 1", SPAN(bytes, length - SIGNATURE),
                                 m->signature, &by);
    if (verdict != GOOD || !by)
        return verdict;
    bool allowed = !by->certificate.group_count || memcmp(m->group, nowhere, 16) == 0;
    for (size_t i = 0; i < by->certificate.group_count; i++)
        allowed |= memcmp(m->group, by->certificate.groups[i], 16) == 0;
    for (struct origin *o = origins; o < origins + ORIGINS; o++)
        if (o != by && o->id == m->source && o->believed)
            return BAD;
    by->believed = allowed;
    return allowed ? GOOD : BAD;
}

/* Judge a manifest: the number of the first packet, digests, a signature; take what it lists. */
static enum verdict take_manifest(struct channel *c, const uint8_t *bytes, struct span said,
                                  bool proven) {
    static const uint8_t none[DIGEST];
    uint8_t covered[14 + 4 + DIGEST * MANIFEST_MOST];
    size_t count = (said.length - 4 - SIGNATURE) / DIGEST;
    if (said.length < 4 + DIGEST + SIGNATURE || (said.length - 4 - SIGNATURE) % DIGEST ||
        count > MANIFEST_MOST)
        return BAD;
    uint32_t first = (uint32_t)get(said.bytes, 4), number = (uint32_t)get(bytes + 12, 4);
    bool near = number - first + SPREAD < 2 * SPREAD, fits = proven || number == first - 1;
    for (size_t i = 0; i < count; i++)
        fits |= memcmp(said.bytes + 4 + DIGEST * i, none, DIGEST) == 0 && number == first + i;
    if (!fits || !near)
        return WAIT;
    memcpy(covered, bytes + 4, 8);
    memcpy(covered + 8, bytes + 18, 2);
    memcpy(covered + 10, said.bytes, said.length - SIGNATURE);
    if (!proven) {
        enum verdict verdict =
            check((uint32_t)get(bytes + 8, 4), "dmmp manifest 1",
                  SPAN(covered, 10 + said.length - SIGNATURE),
                  said.bytes + said.length - SIGNATURE, NULL);
        if (verdict != GOOD)
            return verdict;
    }
    for (size_t i = 0; i < count; i++)
        if (memcmp(said.bytes + 4 + DIGEST * i, none, DIGEST) != 0)
            memcpy(data_digest(c, first + (uint32_t)i, true), said.bytes + 4 + DIGEST * i, DIGEST);
    return GOOD;
}

/* Whether a packet is its origin's: by a signature of its own, or by a manifest that lists it. */
enum verdict proof_packet(struct channel *c, const uint8_t *bytes, size_t length) {
    uint32_t flags = (uint32_t)get(bytes + 16, 4), number = (uint32_t)get(bytes + 12, 4);
    struct span said = {bytes + HEADER, length - HEADER};
    uint8_t hash[32];
    bool proven = false;
    if (flags & FLAG_SIGNED) {
        if (said.length < SIGNATURE)
            return BAD;
        said.length -= SIGNATURE;
        enum verdict verdict = check((uint32_t)get(bytes + 8, 4), "dmmp packet 1",
                                     SPAN(bytes, length - SIGNATURE),
                                     bytes + length - SIGNATURE, NULL);
        if (verdict != GOOD || !(flags & FLAG_MANIFEST))
            return verdict;
        proven = true;
    } else if (options.security == SHARED_SECRET) {
        static uint8_t plain[65536];
        size_t got;
        return proof_open(bytes, length, plain, &got);
    }
    const uint8_t *digest = data_digest(c, number, false);
    if (digest && !proven) {
        sha256(hash, SPAN(bytes, length), SPAN("", 0));
        if (memcmp(hash, digest, DIGEST) != 0)
            return BAD;
        proven = true;
    }
    if (flags & FLAG_MANIFEST)
        return take_manifest(c, bytes, said, proven);
    return proven ? GOOD : WAIT;
}

/* Use a proven packet that is not for programs; false if it is for them. */
bool proof_took(const uint8_t *bytes, size_t length) {
    uint32_t flags = (uint32_t)get(bytes + 16, 4);
    if ((flags & 0xffff) == 0 && (flags & FLAG_SIGNED))
        keys_rekey((uint32_t)get(bytes + 8, 4), bytes + HEADER, length - HEADER - SIGNATURE);
    return (flags & FLAG_MANIFEST) || (flags & 0xffff) == 0;
}

static const uint8_t *sealed_packet;
static size_t sealed_length;
static uint8_t *opened_to;

static bool try_secret(const uint8_t secret[32]) {
    const uint8_t *b = sealed_packet;
    uint8_t info[22] = "dmmp data", key[32];
    memcpy(info + 9, b + 4, 8);
    memcpy(info + 17, b + 17, 3); /* epoch, channel */
    put(info + 20, get(b + 12, 4) >> 20, 2);
    expand(key, secret, info, sizeof info);
    return unseal(opened_to, key, b + 8, SPAN(b, HEADER), SPAN(b + HEADER, sealed_length - HEADER));
}

/* Open a packet into `plain`; WAIT if its epoch's key is not there. */
enum verdict proof_open(const uint8_t *bytes, size_t length, uint8_t *plain, size_t *got) {
    uint32_t flags = (uint32_t)get(bytes + 16, 4);
    size_t end = length - (flags & FLAG_SIGNED ? SIGNATURE : 0);
    if (!(flags & FLAG_SEALED) || length < HEADER + TAG + SIGNATURE || end < HEADER + TAG)
        return BAD;
    sealed_packet = bytes;
    sealed_length = end;
    opened_to = plain;
    *got = end - HEADER - TAG;
    return keys_open((uint32_t)get(bytes + 8, 4), (uint8_t)(flags >> 16), try_secret) ? GOOD : WAIT;
}
