/* Whether data is its origin's, and what it says (spec-notes/security.md, Data). */
#include "secure.h"

#include <stdlib.h>
#include <string.h>

enum { ORIGINS = 16, LISTS = 64, LISTED = 2048, DIGEST = 16, SIGNATURE = 64, MANIFEST_MOST = 82 };

/* A certificate that was shown for an origin; the first whose heartbeat holds is believed. */
struct origin { uint32_t id; bool believed; uint64_t used; struct certificate certificate; };
struct digest { uint32_t number; bool held; uint8_t is[DIGEST]; uint64_t at; };
struct list { uint32_t origin; uint16_t channel; uint64_t used; struct digest digests[LISTED]; };

static struct origin origins[ORIGINS];
static struct list *lists[LISTS];

static struct list *list_of(const uint8_t *bytes, bool make)
{
    uint32_t origin = (uint32_t)get(bytes + 8, 4);
    uint16_t channel = (uint16_t)get(bytes + 18, 2);
    struct list **slot = lists; /* a free one, or the one that was not used for longest */
    for (struct list **l = lists; l < lists + LISTS; l++) {
        if (*l && (*l)->origin == origin && (*l)->channel == channel) {
            (*l)->used = now;
            return *l;
        }
        if (*slot && (!*l || (*l)->used < (*slot)->used))
            slot = l;
    }
    if (!make)
        return NULL;
    free(*slot);
    if (!(*slot = calloc(1, sizeof **slot)))
        return NULL;
    (*slot)->used = now;
    (*slot)->origin = origin;
    (*slot)->channel = channel;
    return *slot;
}

/* Check a signature by an origin: over a label, then `what`. WAIT without its certificate. */
static enum verdict check(uint32_t origin, const char *label, struct span what,
                          const uint8_t *signature, struct origin **by)
{
    enum verdict verdict = WAIT;
    static uint64_t since;
    static unsigned checks;
    uint8_t tagged[64];
    size_t length = strlen(label);
    memcpy(tagged, label, length);
    if (now > since + SECOND) {
        since = now;
        checks = 0;
    }
    if (checks++ > 2000)
        return WAIT;
    if (options.security == SHARED_SECRET)
        return verify(own.signer, signature, SPAN(label, length), what) ? GOOD : BAD;
    for (struct origin *o = origins; o < origins + ORIGINS; o++) {
        if (o->id != origin || !origin || (by ? false : !o->believed))
            continue;
        verdict = BAD;
        if (verify(o->certificate.key, signature, SPAN(tagged, length), what)) {
            if (by)
                *by = o;
            o->used = now;
            return GOOD;
        }
    }
    return verdict;
}

/* Take an origin's certificate; true if it is news. */
bool proof_credential(const uint8_t *bytes, size_t length)
{
    static struct message m;
    struct certificate c;
    struct origin *slot = origins;
    int count = 0;
    if (!decode(&m, bytes, length) || !m.source ||
        !trust_certificate(&c, m.octets.bytes, m.octets.length) ||
        !(c.capabilities & MAY_BE_SOURCE))
        return false;
    for (struct origin *o = origins; o < origins + ORIGINS; o++) {
        if (o->id == m.source && memcmp(o->certificate.key, c.key, 32) == 0) {
            if (c.until > o->certificate.until) /* renewed, for the same key */
                o->certificate = c;
            return false;
        }
        count += o->id == m.source && o->believed;
        if (o->id == m.source && !o->believed)
            o->used = 0; /* the first to go */
        if (o->used < slot->used)
            slot = o;
    }
    if (count)
        return false; /* another is believed */
    *slot = (struct origin){m.source, false, now, c};
    return true;
}

enum verdict proof_heartbeat(const struct message *m, const uint8_t *bytes, size_t length)
{
    static const uint8_t nowhere[16] = {[10] = 0xff, [11] = 0xff};
    struct origin *by = NULL;
    if (!m->signature || m->signature != bytes + length - SIGNATURE)
        return BAD;
    enum verdict verdict = check(m->source, "dmmp heartbeat 1", SPAN(bytes, length - SIGNATURE),
                                 m->signature, &by);
    if (verdict != GOOD || !by)
        return verdict;
    bool allowed = !by->certificate.group_count || memcmp(m->group, nowhere, 16) == 0;
    for (int i = 0; i < by->certificate.group_count; i++)
        allowed |= memcmp(m->group, by->certificate.groups[i], 16) == 0;
    for (struct origin *o = origins; o < origins + ORIGINS; o++)
        if (o != by && o->id == m->source && o->believed)
            return BAD;
    by->believed = allowed;
    return allowed ? GOOD : BAD;
}

static struct digest *digest_of(const struct list *l, uint32_t number)
{
    struct digest *d = l ? (struct digest *)&l->digests[number % LISTED] : NULL;
    return d && d->held && d->number == number && now < d->at + 4 * SECOND ? d : NULL;
}

/* Judge a manifest: the number of the first packet, digests, a signature; take what it lists. */
static enum verdict take_manifest(const uint8_t *bytes, struct span said, bool proven)
{
    static const uint8_t none[DIGEST];
    uint8_t covered[14 + 4 + DIGEST * MANIFEST_MOST];
    size_t count = (said.length - 4 - SIGNATURE) / DIGEST;
    if (said.length < 4 + DIGEST + SIGNATURE || (said.length - 4 - SIGNATURE) % DIGEST ||
        count > MANIFEST_MOST)
        return BAD;
    uint32_t first = (uint32_t)get(said.bytes, 4), number = (uint32_t)get(bytes + 12, 4);
    bool fits = proven || number == first - 1;
    for (size_t i = 0; i < count; i++)
        fits |= memcmp(said.bytes + 4 + DIGEST * i, none, DIGEST) == 0 && number == first + i;
    if (!fits)
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
    struct list *l = list_of(bytes, true);
    for (size_t i = 0; l && i < count; i++) {
        const uint8_t *is = said.bytes + 4 + DIGEST * i;
        if (memcmp(is, none, DIGEST) == 0)
            continue;
        struct digest *d = &l->digests[(first + i) % LISTED];
        *d = (struct digest){.number = first + (uint32_t)i, .held = true, .at = now};
        memcpy(d->is, is, DIGEST);
    }
    return GOOD;
}

enum verdict proof_packet(const uint8_t *bytes, size_t length)
{
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
    struct digest *d = digest_of(list_of(bytes, false), number);
    if (d && !proven) {
        sha256(hash, SPAN(bytes, length), SPAN("", 0));
        if (memcmp(hash, d->is, DIGEST) != 0)
            return BAD;
        proven = true;
    }
    if (flags & FLAG_MANIFEST)
        return take_manifest(bytes, said, proven);
    return proven ? GOOD : WAIT;
}

/* Use a proven packet that is not for programs; false if it is for them. */
bool proof_took(const uint8_t *bytes, size_t length)
{
    uint32_t flags = (uint32_t)get(bytes + 16, 4);
    if ((flags & 0xffff) == 0 && (flags & FLAG_SIGNED))
        keys_rekey((uint32_t)get(bytes + 8, 4), bytes + HEADER, length - HEADER - SIGNATURE);
    return (flags & FLAG_MANIFEST) || (flags & 0xffff) == 0;
}

static const uint8_t *sealed_packet;
static size_t sealed_length;
static uint8_t *opened_to;

static bool try_secret(const uint8_t secret[32])
{
    const uint8_t *b = sealed_packet;
    uint8_t info[22] = "dmmp data", key[32];
    memcpy(info + 9, b + 4, 8);
    memcpy(info + 17, b + 17, 3); /* epoch, channel */
    put(info + 20, get(b + 12, 4) >> 20, 2);
    expand(key, secret, info, sizeof info);
    return unseal(opened_to, key, b + 8, SPAN(b, HEADER), SPAN(b + HEADER, sealed_length - HEADER));
}

/* Open a packet into `plain`; WAIT if its epoch's key is not there. */
enum verdict proof_open(const uint8_t *bytes, size_t length, uint8_t *plain, size_t *got)
{
    uint32_t flags = (uint32_t)get(bytes + 16, 4);
    if ((flags & FLAG_MANIFEST) || (flags & 0xffff) == 0)
        return NOTHING;
    size_t end = length - (flags & FLAG_SIGNED ? SIGNATURE : 0);
    if (!(flags & FLAG_SEALED) || length < HEADER + TAG + SIGNATURE || end < HEADER + TAG)
        return BAD;
    sealed_packet = bytes;
    sealed_length = end;
    opened_to = plain;
    *got = end - HEADER - TAG;
    return keys_open((uint32_t)get(bytes + 8, 4), (uint8_t)(flags >> 16), try_secret) ? GOOD : WAIT;
}
