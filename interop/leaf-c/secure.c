/* Associations: handshakes with other hosts, and what travels sealed between two of them
   (spec-notes/security.md, Associations to Who may say what). */
#define _POSIX_C_SOURCE 200809L
#include "secure.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PEERS = 64, LINKS = 4, CALLS = 11, QUEUE = 16, QUEUE_BYTES = 32 << 10, REPLAY = 2048 };
enum { INITIATION_LEAST = 600, INITIATION_MOST = 1194, INTRODUCTION = 33 };

/* One association; `own` is the index that the other end addresses, 0 if there is none. */
struct link {
    uint32_t own, other;
    uint8_t send_key[32], open_key[32], hash[32];
    bool initiator, half_open, crossed;
    uint64_t counter, top, order, born, heard, said, first_unanswered, reply_at;
    unsigned unanswered;
    uint64_t seen[REPLAY / 64];
};
struct call { uint32_t own; uint8_t ephemeral[32], mac1[16]; struct noise noise; uint64_t order; };

struct peer {
    struct endpoint at, named_by;
    bool keyed, proven, calling, crossing;
    uint8_t key[32], cookie[16];
    struct certificate certificate;
    struct link links[LINKS];
    struct call calls[CALLS];
    int call_count;
    uint64_t call_at, cookie_until, asked_at, used, retry_at, retry_pause, key_wanted_until;
    uint64_t their_instance, their_time, tokens_at;
    uint32_t id, tokens;
    uint64_t id_used;
    int queued;
    struct { uint8_t *bytes; size_t length; } queue[QUEUE];
    size_t queued_bytes;
};

static struct peer peers[PEERS];
static uint64_t instance, orders, initiations_since;
static unsigned initiations;
static uint8_t prologue[38];

static void start_call(struct peer *p);
static struct link *link_of(struct peer *p);

static void drop_queue(struct peer *p)
{
    for (int i = 0; i < p->queued; i++)
        free(p->queue[i].bytes);
    p->queued = 0;
    p->queued_bytes = 0;
}

static struct peer *peer_at(const struct endpoint *at, bool make)
{
    struct peer *oldest = peers;
    for (struct peer *p = peers; p < peers + PEERS; p++) {
        if (p->used && same(&p->at, at))
            return p;
        bool linked = link_of(p) != NULL, oldest_linked = link_of(oldest) != NULL;
        if (linked == oldest_linked ? p->used < oldest->used : oldest_linked)
            oldest = p;
    }
    if (!make)
        return NULL;
    drop_queue(oldest);
    *oldest = (struct peer){.at = *at, .used = now, .tokens = 250};
    if (options.security == SHARED_SECRET) {
        oldest->keyed = true;
        memcpy(oldest->key, own.public, 32);
    }
    return oldest;
}

static uint32_t fresh_index(void)
{
    uint32_t index = 0;
    while (!index)
        random_bytes(&index, sizeof index);
    return index;
}

static void head(uint8_t *to, uint16_t option, uint32_t source, uint32_t sequence, size_t length)
{
    memset(to, 0, HEADER);
    put(to, 1, 1);
    put(to + 2, option, 2);
    put(to + 8, source, 4);
    put(to + 12, sequence, 4);
    put(to + 20, length - HEADER, 4);
}

static void mac1_of(uint8_t to[16], const uint8_t *receiver, const uint8_t *bytes, size_t length)
{
    uint8_t key[32];
    sha256(key, SPAN("dmmp mac1", 9), SPAN(receiver, 32));
    mac(to, SPAN(key, 32), SPAN(bytes, length));
}

/* Associations in use */

/* Sent is over the association whose initiation is the youngest; of two that crossed, over the one
   with the greater hash, as at the other end. */
static struct link *link_of(struct peer *p)
{
    struct link *best = NULL;
    for (struct link *l = p->links; l < p->links + LINKS; l++) {
        if (!l->own || l->half_open || now > l->born + 170 * SECOND)
            continue;
        bool after = !best || (l->crossed && best->crossed
                                   ? memcmp(l->hash, best->hash, 32) > 0
                                   : l->order > best->order);
        best = after ? l : best;
    }
    return best;
}

static struct link *spare_link(struct peer *p)
{
    struct link *kept = link_of(p), *oldest = NULL;
    for (struct link *l = p->links; l < p->links + LINKS; l++)
        if (l != kept && (!oldest || l->order < oldest->order))
            oldest = l;
    return oldest;
}

static void put_sealed(struct peer *p, struct link *l, uint16_t option, const uint8_t *bytes,
                       size_t length)
{
    static uint8_t out[65536];
    uint8_t nonce[12] = {0};
    if (length > LARGEST - HEADER - TAG)
        return;
    head(out, option, l->other, (uint32_t)l->counter, HEADER + length + TAG);
    put(out + 16, l->counter >> 32, 4);
    put(nonce + 4, l->counter++, 8);
    if (!seal(out + HEADER, l->send_key, nonce, SPAN(out, HEADER), SPAN(bytes, length)))
        return;
    l->said = now;
    l->reply_at = 0;
    if (option == SEALED && length && !l->unanswered++)
        l->first_unanswered = now;
    transmit(&p->at, out, HEADER + length + TAG);
}

static void flush_queue(struct peer *p, struct link *l)
{
    for (int i = 0; i < p->queued; i++)
        put_sealed(p, l, SEALED, p->queue[i].bytes, p->queue[i].length);
    if (!p->queued)
        put_sealed(p, l, SEALED, NULL, 0);
    drop_queue(p);
}

/* Ask the host that named this endpoint, and every RP, for its static key. */
static void ask_for_key(struct peer *p)
{
    static struct message m;
    if (p->asked_at && now < p->asked_at + SECOND / 2)
        return;
    p->asked_at = now;
    for (int i = -1; i < options.rp_count; i++) {
        const struct endpoint *to = i < 0 ? &p->named_by : &options.rps[i];
        if (!to->port || same(to, &p->at))
            continue;
        memset(&m, 0, sizeof m);
        m.option = INTRODUCTION_REQUEST;
        m.endpoint = p->at;
        member_send(&m, to);
    }
}

/* Seal a message for a host, or let it wait until the host can be called. */
void secure_say(const struct endpoint *to, const uint8_t *bytes, size_t length)
{
    if (!to->port)
        return;
    struct peer *p = peer_at(to, true);
    struct link *l = link_of(p);
    p->used = now;
    if (l) {
        put_sealed(p, l, SEALED, bytes, length);
        if ((l->initiator && now > l->born + 120 * SECOND) ||
            (l->unanswered >= 3 && now > l->first_unanswered + 2 * SECOND && now > p->retry_at)) {
            p->retry_at = after_pause(&p->retry_pause, 4 * SECOND, 16 * SECOND);
            start_call(p);
        }
        return;
    }
    if (p->queued < QUEUE && p->queued_bytes + length <= QUEUE_BYTES) {
        uint8_t *copy = malloc(length);
        if (!copy)
            return;
        memcpy(copy, bytes, length);
        p->queue[p->queued].bytes = copy;
        p->queue[p->queued++].length = length;
        p->queued_bytes += length;
    }
    if (p->keyed) {
        start_call(p);
    } else {
        p->key_wanted_until = p->key_wanted_until ? p->key_wanted_until : now + 8 * SECOND;
        ask_for_key(p);
    }
}

/* The handshake */

static void start_call(struct peer *p)
{
    if (p->calling)
        return;
    p->calling = true;
    p->crossing = false;
    p->call_count = 0;
    p->call_at = now;
    due(p->call_at + 1);
}

static void send_initiation(struct peer *p)
{
    uint8_t out[INITIATION_MOST], payload[18 + CERTIFICATE] = {0};
    struct call *c = &p->calls[p->call_count++];
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    size_t filled = 18 + own.length;
    filled = filled < INITIATION_LEAST - 152 ? INITIATION_LEAST - 152 : filled;
    size_t length = HEADER + 80 + filled + TAG + 32;
    put(payload, (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec / 1000, 8);
    put(payload + 8, instance, 8);
    put(payload + 16, own.length, 2);
    memcpy(payload + 18, own.shown, own.length);
    c->own = fresh_index();
    c->order = ++orders;
    random_bytes(c->ephemeral, 32);
    noise_begin(&c->noise, SPAN(prologue, sizeof prologue), p->key);
    head(out, HANDSHAKE_INITIATION, c->own, 0, length);
    if (!noise_write1(&c->noise, out + HEADER, c->ephemeral, own.secret, p->key,
                      SPAN(payload, filled)))
        return;
    mac1_of(out + length - 32, p->key, out, length - 32);
    memcpy(c->mac1, out + length - 32, 16);
    memset(out + length - 16, 0, 16);
    if (now < p->cookie_until)
        mac(out + length - 16, SPAN(p->cookie, 16), SPAN(out, length - 16));
    transmit(&p->at, out, length);
}

static void tick_call(struct peer *p)
{
    if (!p->calling || !due(p->call_at))
        return;
    if (p->call_count == CALLS) {
        note("no handshake with port %u", p->at.port);
        p->calling = false;
        drop_queue(p);
        if (!link_of(p) && options.security == CERTIFICATES)
            p->keyed = false;
        for (int i = 0; i < options.rp_count; i++) /* the session file's keys stay */
            p->keyed |= same(&options.rps[i], &p->at);
        return;
    }
    send_initiation(p);
    int last = p->call_count - 8;
    p->call_at = now + (last < 0 ? 250 * MILLI : 500 * MILLI << (last > 2 ? 2 : last));
    due(p->call_at);
}

static bool take_credential(struct peer *p, const uint8_t *bytes, size_t length)
{
    struct certificate c;
    if (options.security == SHARED_SECRET) {
        p->certificate.capabilities = 31;
        p->certificate.out_degree = 0xffff;
        return !length && memcmp(p->key, own.public, 32) == 0;
    }
    if (!trust_certificate(&c, bytes, length) || memcmp(c.static_key, p->key, 32) != 0)
        return false;
    p->certificate = c;
    return true;
}

static bool on_response(const struct endpoint *from, const uint8_t *bytes, size_t length)
{
    struct peer *p = peer_at(from, false);
    uint8_t check[16], payload[CERTIFICATE + 64];
    if (!p || !p->calling || length < HEADER + 32 + 2 + TAG + 32 || length > INITIATION_MOST)
        return false;
    mac1_of(check, own.public, bytes, length - 32);
    struct call *c = p->calls;
    while (c < p->calls + p->call_count && c->own != get(bytes + 12, 4))
        c++;
    if (c == p->calls + p->call_count || memcmp(check, bytes + length - 32, 16) != 0)
        return false;
    struct noise n = c->noise;
    size_t body = length - HEADER - 32, filled = body - 32 - TAG;
    if (!noise_read2(&n, bytes + HEADER, body, c->ephemeral, own.secret, payload) ||
        get(payload, 2) != filled - 2 || !take_credential(p, payload + 2, filled - 2))
        return false;
    struct link *l = spare_link(p);
    *l = (struct link){.own = c->own, .other = (uint32_t)get(bytes + 8, 4), .initiator = true,
                       .born = now, .heard = now, .order = c->order, .crossed = p->crossing};
    memcpy(l->hash, n.hash, 32);
    noise_split(&n, l->send_key, l->open_key);
    p->calling = false;
    p->proven = p->keyed = true;
    p->retry_pause = 0;
    flush_queue(p, l);
    return true;
}

static bool on_initiation(const struct endpoint *from, const uint8_t *bytes, size_t length)
{
    uint8_t check[16], payload[INITIATION_MOST], their_key[32], out[INITIATION_MOST];
    uint8_t ephemeral[32];
    struct noise n;
    size_t answer = HEADER + 32 + 2 + own.length + TAG + 32;
    if (length < INITIATION_LEAST || length > INITIATION_MOST || answer > length)
        return false;
    mac1_of(check, own.public, bytes, length - 32);
    if (memcmp(check, bytes + length - 32, 16) != 0)
        return false;
    if (now > initiations_since + SECOND) {
        initiations_since = now;
        initiations = 0;
    }
    if (++initiations > 200)
        return false;
    noise_begin(&n, SPAN(prologue, sizeof prologue), own.public);
    if (!noise_read1(&n, bytes + HEADER, length - HEADER - 32, own.secret, their_key, payload))
        return false;
    size_t filled = length - HEADER - 32 - 80 - TAG, shown = get(payload + 16, 2);
    uint64_t time = get(payload, 8), their_instance = get(payload + 8, 8);
    if (shown > CERTIFICATE || 18 + shown > filled || their_instance == instance)
        return false;
    for (size_t i = 18 + shown; i < filled; i++)
        if (payload[i])
            return false;
    struct peer *p = peer_at(from, true);
    if (memcmp(p->key, their_key, 32) != 0) {
        for (int i = 0; p->proven && i < LINKS; i++)
            if (p->links[i].own && now < p->links[i].heard + 10 * SECOND)
                return false;
        p->keyed = true;
        p->their_instance = 0;
        memcpy(p->key, their_key, 32);
    }
    if ((p->their_instance == their_instance && time <= p->their_time) ||
        !take_credential(p, payload + 18, shown))
        return false;
    p->their_instance = their_instance;
    p->their_time = time;
    p->used = now;
    struct link *l = spare_link(p);
    *l = (struct link){.own = fresh_index(), .other = (uint32_t)get(bytes + 8, 4),
                       .half_open = true, .born = now, .order = ++orders, .crossed = p->calling};
    p->crossing = p->calling;
    head(out, HANDSHAKE_RESPONSE, l->own, l->other, answer);
    random_bytes(ephemeral, 32);
    put(payload, own.length, 2);
    memcpy(payload + 2, own.shown, own.length);
    if (!noise_write2(&n, out + HEADER, ephemeral, bytes + HEADER, their_key,
                      SPAN(payload, 2 + own.length)))
        return false;
    memcpy(l->hash, n.hash, 32);
    noise_split(&n, l->open_key, l->send_key);
    mac1_of(out + answer - 32, their_key, out, answer - 32);
    memset(out + answer - 16, 0, 16);
    transmit(from, out, answer);
    return true;
}

static bool on_cookie(const struct endpoint *from, const uint8_t *bytes, size_t length)
{
    struct peer *p = peer_at(from, false);
    uint8_t key[32], cookie[16];
    if (!p || !p->calling || length != 68)
        return false;
    sha256(key, SPAN("dmmp cookie", 11), SPAN(p->key, 32));
    for (struct call *c = p->calls; c < p->calls + p->call_count; c++)
        if (c->own == get(bytes + 12, 4) &&
            unseal(cookie, key, bytes + HEADER, SPAN(c->mac1, 16), SPAN(bytes + 36, 32))) {
            memcpy(p->cookie, cookie, 16);
            p->cookie_until = now + 120 * SECOND;
            if (p->call_at > now + 250 * MILLI)
                p->call_at = now + 250 * MILLI;
            return true;
        }
    return false;
}

/* What comes sealed */

static bool open_link(const struct endpoint *from, const uint8_t *bytes, size_t length,
                      uint8_t *plain, struct peer **peer, struct link **used)
{
    uint32_t index = (uint32_t)get(bytes + 8, 4);
    uint64_t counter = get(bytes + 16, 4) << 32 | get(bytes + 12, 4);
    uint8_t nonce[12] = {0};
    struct peer *p = peer_at(from, false);
    struct link *l = p ? p->links : NULL;
    while (l && l < p->links + LINKS && l->own != index)
        l++;
    if (!l || l == p->links + LINKS || now > l->born + 180 * SECOND || length < HEADER + TAG)
        return false;
    if (l->half_open && now > l->born + 10 * SECOND)
        return false;
    if (counter >> 62 || counter + REPLAY < l->top ||
        (counter < l->top && (l->seen[counter % REPLAY / 64] >> counter % 64 & 1)))
        return false;
    put(nonce + 4, counter, 8);
    if (!unseal(plain, l->open_key, nonce, SPAN(bytes, HEADER),
                SPAN(bytes + HEADER, length - HEADER)))
        return false;
    if (counter > l->top + REPLAY) {
        memset(l->seen, 0, sizeof l->seen);
        l->top = counter;
    }
    for (; l->top <= counter; l->top++) /* top is one more than the greatest */
        l->seen[l->top % REPLAY / 64] &= ~((uint64_t)1 << l->top % 64);
    l->seen[counter % REPLAY / 64] |= (uint64_t)1 << counter % 64;
    if (l->half_open) {
        l->half_open = false;
        p->proven = true;
        p->retry_pause = 0;
        for (struct link *other = p->links; other < p->links + LINKS; other++)
            if (other->half_open)
                other->own = 0;
        if (p->queued)
            flush_queue(p, l);
    }
    l->heard = p->used = now;
    l->unanswered = 0;
    if (l->initiator && l == link_of(p) && now > l->born + 120 * SECOND)
        start_call(p);
    *peer = p;
    *used = l;
    return true;
}

/* Learn the static keys that stand behind a message for the hosts that it names. */
static void learn(const struct peer *by, const struct message *m, const uint8_t *at, size_t length)
{
    for (int i = 0; i < m->named_count; i++) {
        struct peer *p = peer_at(&m->named[i], false);
        if (p)
            p->named_by = by->at;
    }
    for (; length >= INTRODUCTION; at += INTRODUCTION, length -= INTRODUCTION) {
        if (at[0] >= m->named_count || options.security != CERTIFICATES)
            continue;
        struct peer *p = peer_at(&m->named[at[0]], true);
        if (p->proven && link_of(p))
            continue;
        p->used = p->used ? p->used : now;
        p->keyed = true;
        p->named_by = by->at;
        memcpy(p->key, at + 1, 32);
        if (p->queued)
            start_call(p);
    }
}

/* Whether the sender's certificate allows what it says; records about itself are cut down. */
static bool permitted(const struct peer *p, struct message *m)
{
    uint32_t may = p->certificate.capabilities;
    bool core = may & (MAY_BE_SUPER_NODE | MAY_BE_SOURCE), good = true;
    bool about_itself = false;
    switch (m->option) {
    case SUBSCRIPTION_RESPONSE:
    case PING_RP_RESPONSE:
    case SOURCE_RESPONSE: good = may & RENDEZVOUS_POINT; break;
    case CLUSTER_RESPONSE: good = core || m->status != SUCCESS; about_itself = true; break;
    case SETUP_REQUEST:
    case SETUP_RESPONSE: good = core; about_itself = true; break;
    case REFRESH_REQUEST:
        good = core || ((m->kind != MESH && m->kind != FROM_SOURCE) && !m->list.length);
        about_itself = true;
        break;
    case JOIN_REQUEST: about_itself = same(&m->record.endpoint, &p->at); break;
    case JOIN_RESPONSE:
    case REFRESH_RESPONSE:
    case PROBE_RESPONSE: about_itself = true; break;
    case KEY_REQUEST:
    case KEY_LEAVE: good = may & MEMBER; break;
    case KEY_RESPONSE: good = may & MAY_BE_SOURCE; break;
    case RENEWAL_RESPONSE: good = may & AUTHORITY; break;
    }
    if (about_itself) {
        good &= !(m->record.flags & SOURCE) || (may & MAY_BE_SOURCE);
        good &= !(m->record.flags & SUPER_NODE) || core;
        if (m->record.out_degree > p->certificate.out_degree)
            m->record.out_degree = p->certificate.out_degree;
    }
    return good;
}

/* An id belongs to the node that was the first to use it, as long as it goes on. */
static bool owns_id(struct peer *p, uint32_t id)
{
    for (struct peer *other = peers; id && other < peers + PEERS; other++)
        if (other != p && other->id == id && now < other->id_used + 60 * SECOND &&
            memcmp(other->certificate.node, p->certificate.node, 16) != 0)
            return false;
    p->id = id ? id : p->id;
    p->id_used = id ? now : p->id_used;
    return true;
}

static bool within_budget(struct peer *p)
{
    uint32_t rate = p->certificate.capabilities & (RENDEZVOUS_POINT | MAY_BE_SOURCE) ? 1000 : 50;
    uint64_t earned = (now - p->tokens_at) * rate / SECOND;
    if (earned) {
        p->tokens_at = now;
        p->tokens = earned + p->tokens > 5 * rate ? 5 * rate : p->tokens + (uint32_t)earned;
    }
    return p->tokens && p->tokens--;
}

static void introduce(struct peer *to, struct link *l, struct message *m)
{
    uint8_t bytes[256];
    struct peer *p = peer_at(&m->endpoint, false);
    m->option = INTRODUCTION_RESPONSE;
    size_t length = encode(m, bytes, sizeof bytes - INTRODUCTION);
    if (length && p && p->keyed) {
        bytes[length] = 0;
        memcpy(bytes + length + 1, p->key, 32);
        length += INTRODUCTION;
    }
    put_sealed(to, l, SEALED, bytes, length);
}

static bool on_sealed(const struct endpoint *from, const uint8_t *bytes, size_t length)
{
    static uint8_t plain[65536];
    static struct message m;
    struct peer *p;
    struct link *l;
    if (!open_link(from, bytes, length, plain, &p, &l))
        return false;
    size_t got = length - HEADER - TAG;
    if (get(bytes + 2, 2) == HOP_SEALED) {
        data_receive(from, plain, got, true);
        return true;
    }
    if (!got)
        return true;
    l->reply_at = l->reply_at ? l->reply_at : now + SECOND;
    size_t inner = got < HEADER ? 0 : HEADER + get(plain + 20, 4);
    if (!within_budget(p) || inner > got || (got - inner) % INTRODUCTION ||
        (got - inner) / INTRODUCTION > 64 || !decode(&m, plain, inner) || m.option <= CREDENTIAL ||
        !owns_id(p, m.source) || !permitted(p, &m))
        return false;
    learn(p, &m, plain + inner, got - inner);
    if (m.option == INTRODUCTION_REQUEST)
        introduce(p, l, &m);
    else if (m.option != INTRODUCTION_RESPONSE)
        member_receive(from, &m);
    return true;
}

bool secure_receive(const struct endpoint *from, const uint8_t *bytes, size_t length)
{
    if (length < HEADER || bytes[0] != 1 || get(bytes + 20, 4) != length - HEADER)
        return false;
    uint64_t option = get(bytes + 2, 2);
    if (option == DATA) {
        data_receive(from, bytes, length, false);
        return true;
    }
    if (get(bytes + 4, 4) != 0 || bytes[1] != 0)
        return false;
    switch (option) {
    case SEALED:
    case HOP_SEALED: return on_sealed(from, bytes, length);
    case HANDSHAKE_RESPONSE: return on_response(from, bytes, length);
    case HANDSHAKE_INITIATION: return on_initiation(from, bytes, length);
    case COOKIE_REPLY: return on_cookie(from, bytes, length);
    }
    return false;
}

bool secure_ordinary(void)
{
    return !(own.certificate.capabilities & (MAY_BE_SUPER_NODE | MAY_BE_SOURCE));
}

void secure_start(void)
{
    trust_start();
    random_bytes(&instance, sizeof instance);
    memcpy(prologue, "DMMP\1", 5);
    prologue[5] = (uint8_t)options.security;
    sha256(prologue + 6, SPAN(options.session, strlen(options.session)), SPAN("", 0));
}

void secure_tick(void)
{
    for (int i = 0; i < options.rp_count; i++) {
        struct peer *p = peer_at(&options.rps[i], true);
        if (!p->keyed) {
            p->keyed = true;
            memcpy(p->key, rp_keys[i], 32);
        }
        p->used = now;
    }
    for (struct peer *p = peers; p < peers + PEERS; p++) {
        if (!p->used)
            continue;
        tick_call(p);
        if (p->keyed)
            p->key_wanted_until = 0;
        if (due(p->key_wanted_until)) {
            p->key_wanted_until = 0;
            drop_queue(p);
        } else if (p->key_wanted_until && due(p->asked_at + SECOND)) {
            ask_for_key(p);
        }
        for (struct link *l = p->links; l < p->links + LINKS; l++) {
            if (!l->own)
                continue;
            if (due(l->reply_at) && !l->half_open)
                put_sealed(p, l, SEALED, NULL, 0);
            if (now > l->born + (l->half_open ? 10 : 180) * (uint64_t)SECOND)
                l->own = 0;
        }
    }
    keys_tick();
}
