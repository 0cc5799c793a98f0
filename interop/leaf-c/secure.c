/* Associations: handshakes with other hosts, and what travels sealed between two of them
   (spec-notes/security.md, Associations to Who may say what). */
#define _POSIX_C_SOURCE 200809L
#include "secure.h"

#include <string.h>
#include <time.h>

enum { PEERS = 64, LINKS = 4, CALLS = 11, QUEUE = 16, REPLAY = 2048, DISTRUSTED = 8 };
enum { INITIATION_LEAST = 600, INITIATION_FILLED = 820, INITIATION_MOST = 1194 };
enum { INTRODUCTION = 33, MACS = 32 };

/* One association; `own` is the index that the other end addresses, 0 if there is none. */
struct link {
    uint32_t own, other;
    uint8_t send_key[32], open_key[32], hash[32];
    bool initiator, half_open, crossed;
    uint64_t counter, top, order, born, heard, first_unanswered, reply_at; /* top: one more */
    unsigned unanswered;                                                   /* than the greatest */
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
    int call_count, queued;
    uint64_t call_at, cookie_until, asked_at, used, retry_at, retry_pause, key_wanted_until;
    uint64_t their_instance, their_time, tokens_at, id_used;
    uint32_t id, tokens;
    struct { size_t length; uint8_t bytes[4096]; } queue[QUEUE];
};

static struct peer peers[PEERS];
static uint64_t instance, orders;
static uint8_t prologue[38];
static struct { uint32_t host; uint64_t until; } distrusted[DISTRUSTED];

static const struct span nothing;

/* Sent is over the association whose initiation is the youngest; of two that crossed, over the one
   with the greater hash, as at the other end. */
static struct link *link_of(struct peer *p) {
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

/* The host at an endpoint; a new one takes the place of the one that was not used for longest,
   of those without an association if there are any. */
static struct peer *peer_at(const struct endpoint *at, bool make) {
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
    memset(oldest, 0, offsetof(struct peer, queue));
    oldest->at = *at;
    oldest->used = now;
    oldest->tokens = 250;
    oldest->keyed = options.security == SHARED_SECRET; /* all have one key */
    if (oldest->keyed)
        memcpy(oldest->key, own.public, 32);
    return oldest;
}

static uint32_t fresh_index(void) {
    uint32_t index = 0;
    while (!index)
        random_bytes(&index, sizeof index);
    return index;
}

static void head(uint8_t *to, uint16_t option, uint32_t source, uint32_t sequence, size_t length) {
    memset(to, 0, HEADER);
    put(to, 1, 1);
    put(to + 2, option, 2);
    put(to + 8, source, 4);
    put(to + 12, sequence, 4);
    put(to + 20, length - HEADER, 4);
}

/* Write the macs at the end of a handshake's datagram: for its receiver, and a cookie if any. */
static void put_macs(uint8_t *bytes, size_t length, const uint8_t receiver[32],
                     struct span cookie) {
    uint8_t key[32];
    sha256(key, SPAN("dmmp mac1", 9), SPAN(receiver, 32));
    mac(bytes + length - MACS, SPAN(key, 32), SPAN(bytes, length - MACS));
    memset(bytes + length - 16, 0, 16);
    if (cookie.length)
        mac(bytes + length - 16, cookie, SPAN(bytes, length - 16));
}

/* Whether a datagram's mac1 is for this host. */
static bool is_for_me(const uint8_t *bytes, size_t length) {
    uint8_t again[INITIATION_MOST];
    memcpy(again, bytes, length);
    put_macs(again, length, own.public, nothing);
    return memcmp(again + length - MACS, bytes + length - MACS, 16) == 0;
}

/* Associations in use */

static struct link *spare_link(struct peer *p) {
    struct link *kept = link_of(p), *oldest = NULL;
    for (struct link *l = p->links; l < p->links + LINKS; l++)
        if (l != kept && (!oldest || l->order < oldest->order))
            oldest = l;
    return oldest;
}

static void put_sealed(struct peer *p, struct link *l, struct span what) {
    static uint8_t out[65536];
    uint8_t nonce[12] = {0};
    size_t length = HEADER + what.length + TAG;
    head(out, SEALED, l->other, (uint32_t)l->counter, length);
    put(out + 16, l->counter >> 32, 4);
    put(nonce + 4, l->counter++, 8);
    if (length > LARGEST || !seal(out + HEADER, l->send_key, nonce, SPAN(out, HEADER), what))
        return;
    l->reply_at = 0;
    if (what.length && !l->unanswered++)
        l->first_unanswered = now;
    transmit(&p->at, out, length);
}

/* Send what waits or, without any, something empty. */
static void flush_queue(struct peer *p, struct link *l) {
    for (int i = 0; i < p->queued; i++)
        put_sealed(p, l, SPAN(p->queue[i].bytes, p->queue[i].length));
    if (!p->queued)
        put_sealed(p, l, nothing);
    p->queued = 0;
}

static void start_call(struct peer *p) {
    if (p->calling)
        return;
    p->calling = true;
    p->crossing = false;
    p->call_count = 0;
    p->call_at = now;
}

/* Ask the host that named this endpoint, and every RP, for its static key. */
static void ask_for_key(struct peer *p) {
    if (p->asked_at && now < p->asked_at + SECOND / 2)
        return;
    p->asked_at = now;
    for (int i = -1; i < options.rp_count; i++) {
        const struct endpoint *to = i < 0 ? &p->named_by : &options.rps[i];
        struct message *m = begin(INTRODUCTION_REQUEST);
        m->session = m->source = m->tree_version = 0;
        m->endpoint = p->at;
        if (to->port && !same(to, &p->at))
            send_message(m, to);
    }
}

/* Seal a message for a host, or let it wait until the host can be called. */
void secure_say(const struct endpoint *to, const uint8_t *bytes, size_t length) {
    struct peer *p = to->port ? peer_at(to, true) : NULL;
    struct link *l = p ? link_of(p) : NULL;
    if (!p)
        return;
    p->used = now;
    if (l) {
        put_sealed(p, l, SPAN(bytes, length));
        bool doubtful = l->unanswered >= 3 && now > l->first_unanswered + 2 * SECOND;
        if (doubtful && now > p->retry_at)
            p->retry_at = after_pause(&p->retry_pause, 4 * SECOND, 16 * SECOND);
        else if (!l->initiator || now < l->born + 120 * SECOND)
            return;
        start_call(p);
        return;
    }
    if (p->queued < QUEUE && length <= sizeof p->queue->bytes) {
        memcpy(p->queue[p->queued].bytes, bytes, length);
        p->queue[p->queued++].length = length;
    }
    if (p->keyed) {
        start_call(p);
    } else {
        p->key_wanted_until = p->key_wanted_until ? p->key_wanted_until : now + 8 * SECOND;
        ask_for_key(p);
    }
}

/* The handshake */

static void send_initiation(struct peer *p) {
    uint8_t out[INITIATION_MOST], payload[18 + CERTIFICATE] = {0};
    struct call *c = &p->calls[p->call_count++];
    static uint64_t stamp; /* grows, also if the clock is put back */
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t time = (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec / 1000;
    stamp = time > stamp ? time : stamp + 1;
    size_t filled = 18 + own.length, least = INITIATION_FILLED - HEADER - 80 - TAG - MACS;
    filled = filled < least ? least : filled;
    size_t length = HEADER + 80 + filled + TAG + MACS;
    put(payload, stamp, 8);
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
    put_macs(out, length, p->key, now < p->cookie_until ? SPAN(p->cookie, 16) : nothing);
    memcpy(c->mac1, out + length - MACS, 16);
    transmit(&p->at, out, length);
}

static void tick_call(struct peer *p) {
    if (!p->calling || !due(p->call_at))
        return;
    if (p->call_count < CALLS) {
        send_initiation(p);
        int last = p->call_count - 8;
        p->call_at = now + (last < 0 ? 250 * MILLI : 500 * MILLI << (last > 2 ? 2 : last));
        return;
    }
    note("no handshake with port %u", p->at.port);
    p->calling = false;
    p->queued = 0;
    p->keyed &= link_of(p) || options.security == SHARED_SECRET; /* it is asked for anew */
}

/* Take what is shown for a static key; false if it is no credential for that. */
static bool take_credential(struct peer *p, const uint8_t key[32], struct span shown) {
    struct certificate c = {.capabilities = 31};
    bool good = options.security == SHARED_SECRET
                    ? !shown.length && memcmp(key, own.public, 32) == 0
                    : trust_certificate(&c, shown.bytes, shown.length) &&
                          memcmp(c.static_key, key, 32) == 0;
    if (!good)
        return false;
    p->certificate = c;
    p->keyed = true;
    memmove(p->key, key, 32);
    return true;
}

static bool on_response(const struct endpoint *from, const uint8_t *bytes, size_t length) {
    struct peer *p = peer_at(from, false);
    uint8_t payload[INITIATION_MOST];
    if (!p || !p->calling || length < HEADER + 32 + 2 + TAG + MACS || length > INITIATION_MOST)
        return false;
    struct call *c = p->calls;
    while (c < p->calls + p->call_count && c->own != get(bytes + 12, 4))
        c++;
    if (c == p->calls + p->call_count || !is_for_me(bytes, length))
        return false;
    struct noise n = c->noise;
    size_t body = length - HEADER - MACS, filled = body - 32 - TAG;
    if (!noise_read2(&n, bytes + HEADER, body, c->ephemeral, own.secret, payload) ||
        get(payload, 2) != filled - 2 ||
        !take_credential(p, p->key, SPAN(payload + 2, filled - 2)))
        return false;
    struct link *l = spare_link(p);
    *l = (struct link){.own = c->own, .other = (uint32_t)get(bytes + 8, 4), .initiator = true,
                       .born = now, .heard = now, .order = c->order, .crossed = p->crossing};
    memcpy(l->hash, n.hash, 32);
    noise_split(&n, l->send_key, l->open_key);
    p->calling = false;
    p->proven = true;
    p->retry_pause = 0;
    flush_queue(p, l);
    return true;
}

/* Whether there were too many initiations in this second: they are dropped then. */
static bool is_flooded(void) {
    static uint64_t since;
    static unsigned count;
    if (now > since + SECOND) {
        since = now;
        count = 0;
    }
    return ++count > 200;
}

/* Whether somebody with another static key was heard at this endpoint a moment ago. */
static bool is_taken(const struct peer *p, const uint8_t key[32]) {
    bool taken = false;
    for (int i = 0; i < LINKS && p->proven && memcmp(p->key, key, 32) != 0; i++)
        taken |= p->links[i].own && now < p->links[i].heard + 10 * SECOND;
    return taken;
}

static bool on_initiation(const struct endpoint *from, const uint8_t *bytes, size_t length) {
    uint8_t payload[INITIATION_MOST], key[32], ephemeral[32], out[INITIATION_MOST];
    struct noise n;
    size_t answer = HEADER + 32 + 2 + own.length + TAG + MACS;
    if (length < INITIATION_LEAST || length > INITIATION_MOST || answer > length ||
        !is_for_me(bytes, length) || is_flooded())
        return false;
    noise_begin(&n, SPAN(prologue, sizeof prologue), own.public);
    if (!noise_read1(&n, bytes + HEADER, length - HEADER - MACS, own.secret, key, payload))
        return false;
    size_t filled = length - HEADER - MACS - 80 - TAG, shown = get(payload + 16, 2);
    uint64_t time = get(payload, 8), their_instance = get(payload + 8, 8);
    bool zeros = 18 + shown <= filled;
    for (size_t i = 18 + shown; i < filled; i++)
        zeros &= !payload[i];
    struct peer *p = zeros && their_instance != instance ? peer_at(from, true) : NULL;
    if (!p || is_taken(p, key))
        return false;
    bool is_old = memcmp(p->key, key, 32) == 0 && p->their_instance == their_instance &&
                  time <= p->their_time;
    if (is_old || !take_credential(p, key, SPAN(payload + 18, shown)))
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
    if (!noise_write2(&n, out + HEADER, ephemeral, bytes + HEADER, key,
                      SPAN(payload, 2 + own.length)))
        return false;
    memcpy(l->hash, n.hash, 32);
    noise_split(&n, l->open_key, l->send_key);
    put_macs(out, answer, key, nothing);
    transmit(from, out, answer);
    return true;
}

static bool on_cookie(const struct endpoint *from, const uint8_t *bytes, size_t length) {
    struct peer *p = peer_at(from, false);
    uint8_t key[32], cookie[16];
    if (!p || !p->calling || length != 68)
        return false;
    sha256(key, SPAN("dmmp cookie", 11), SPAN(p->key, 32));
    for (struct call *c = p->calls; c < p->calls + p->call_count; c++) {
        if (c->own != get(bytes + 12, 4) ||
            !unseal(cookie, key, bytes + HEADER, SPAN(c->mac1, 16), SPAN(bytes + 36, 32)))
            continue;
        memcpy(p->cookie, cookie, 16);
        p->cookie_until = now + 120 * SECOND;
        if (p->call_at > now + 250 * MILLI)
            p->call_at = now + 250 * MILLI;
        return true;
    }
    return false;
}

/* What comes sealed */

/* Open what comes over an association, each counter once; NULL if it does not hold. */
static struct link *open_link(struct peer *p, const uint8_t *bytes, size_t length, uint8_t *plain) {
    uint64_t counter = get(bytes + 16, 4) << 32 | get(bytes + 12, 4);
    uint8_t nonce[12] = {0};
    struct link *l = p->links;
    while (l < p->links + LINKS && l->own != get(bytes + 8, 4))
        l++;
    if (l == p->links + LINKS || !l->own || counter >> 62 || counter + REPLAY < l->top ||
        now > l->born + (uint64_t)(l->half_open ? 10 : 180) * SECOND ||
        (counter < l->top && (l->seen[counter % REPLAY / 64] >> counter % 64 & 1)))
        return NULL;
    put(nonce + 4, counter, 8);
    if (!unseal(plain, l->open_key, nonce, SPAN(bytes, HEADER),
                SPAN(bytes + HEADER, length - HEADER)))
        return NULL;
    if (counter > l->top + REPLAY) {
        memset(l->seen, 0, sizeof l->seen);
        l->top = counter;
    }
    for (; l->top <= counter; l->top++)
        l->seen[l->top % REPLAY / 64] &= ~((uint64_t)1 << l->top % 64);
    l->seen[counter % REPLAY / 64] |= (uint64_t)1 << counter % 64;
    if (l->half_open) {
        l->half_open = false;
        p->proven = true;
        p->retry_pause = 0;
        for (struct link *other = p->links; other < p->links + LINKS; other++)
            other->own = other->half_open ? 0 : other->own;
        if (p->queued)
            flush_queue(p, l);
    }
    l->heard = p->used = now;
    l->unanswered = 0;
    if (l->initiator && l == link_of(p) && now > l->born + 120 * SECOND)
        start_call(p);
    return l;
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

/* What a certificate has to allow for a message, any one of these; and whether its record tells of
   its sender. */
static const struct { uint16_t option; uint8_t needs; bool about_itself; } rules[] = {
    {SUBSCRIPTION_RESPONSE, RENDEZVOUS_POINT, false}, {PING_RP_RESPONSE, RENDEZVOUS_POINT, false},
    {SOURCE_RESPONSE, RENDEZVOUS_POINT, false}, {CLUSTER_RESPONSE, CORE, true},
    {SETUP_REQUEST, CORE, true}, {SETUP_RESPONSE, CORE, true}, {REFRESH_REQUEST, CORE, true},
    {REFRESH_RESPONSE, 0, true}, {JOIN_REQUEST, 0, true}, {JOIN_RESPONSE, 0, true},
    {PROBE_RESPONSE, 0, true}, {KEY_REQUEST, MEMBER, false}, {KEY_LEAVE, MEMBER, false},
    {KEY_RESPONSE, MAY_BE_SOURCE, false}, {RENEWAL_RESPONSE, AUTHORITY, false},
};

static bool permitted(const struct peer *p, const struct message *m) {
    const uint32_t may = p->certificate.capabilities;
    bool mesh = m->kind == MESH || m->kind == FROM_SOURCE || m->list.length;
    bool harmless = (m->option == CLUSTER_RESPONSE && m->status != SUCCESS) ||
                    (m->option == REFRESH_REQUEST && !mesh);
    bool passed = m->option == JOIN_REQUEST && m->source != m->record.host;
    bool good = true;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].option != m->option)
            continue;
        good &= !rules[i].needs || harmless || (may & rules[i].needs);
        if (rules[i].about_itself && !passed)
            good &= (!(m->record.flags & SOURCE) || (may & MAY_BE_SOURCE)) &&
                    (!(m->record.flags & SUPER_NODE) || (may & CORE));
    }
    return good;
}

/* An id belongs to the node that was the first to use it, as long as it goes on. */
static bool owns_id(struct peer *p, uint32_t id) {
    for (struct peer *other = peers; id && other < peers + PEERS; other++)
        if (other != p && other->id == id && now < other->id_used + 60 * SECOND &&
            memcmp(other->certificate.node, p->certificate.node, 16) != 0)
            return false;
    p->id = id ? id : p->id;
    p->id_used = id ? now : p->id_used;
    return true;
}

static bool within_budget(struct peer *p) {
    uint32_t rate = p->certificate.capabilities & (RENDEZVOUS_POINT | MAY_BE_SOURCE) ? 1000 : 50;
    uint64_t earned = (now - p->tokens_at) * rate / SECOND;
    if (earned) {
        p->tokens_at = now;
        p->tokens = earned + p->tokens > 5 * rate ? 5 * rate : p->tokens + (uint32_t)earned;
    }
    return p->tokens && p->tokens--;
}

static void introduce(struct peer *to, struct link *l, struct message *m) {
    uint8_t bytes[HEADER + 18 + INTRODUCTION];
    struct peer *p = peer_at(&m->endpoint, false);
    m->option = INTRODUCTION_RESPONSE;
    m->elements.length = 0;
    size_t length = encode(m, bytes, sizeof bytes);
    if (p && p->keyed) {
        bytes[length] = 0;
        memcpy(bytes + length + 1, p->key, 32);
        length += INTRODUCTION;
    }
    put_sealed(to, l, SPAN(bytes, length));
}

static bool on_sealed(const struct endpoint *from, const uint8_t *bytes, size_t length) {
    static uint8_t plain[65536];
    static struct message m;
    struct peer *p = peer_at(from, false);
    struct link *l = p ? open_link(p, bytes, length, plain) : NULL;
    if (!l)
        return false;
    size_t got = length - HEADER - TAG;
    if (get(bytes + 2, 2) == HOP_SEALED)
        data_receive(from, plain, got, true);
    if (get(bytes + 2, 2) == HOP_SEALED || !got)
        return true;
    l->reply_at = l->reply_at ? l->reply_at : now + SECOND;
    size_t inner = got < HEADER ? got + 1 : HEADER + get(plain + 20, 4), behind = got - inner;
    if (!within_budget(p) || inner > got || behind % INTRODUCTION || behind > 64 * INTRODUCTION ||
        !decode(&m, plain, inner) || m.option <= CREDENTIAL || !owns_id(p, m.source) ||
        !permitted(p, &m))
        return false;
    learn(p, &m, plain + inner, behind);
    if (m.option == INTRODUCTION_REQUEST)
        introduce(p, l, &m);
    else if (m.option != INTRODUCTION_RESPONSE)
        member_receive(from, &m);
    return true;
}

bool secure_receive(const struct endpoint *from, const uint8_t *bytes, size_t length) {
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

void secure_start(void) {
    trust_start();
    own_flags = own.certificate.capabilities & CORE ? 0 : ORDINARY;
    random_bytes(&instance, sizeof instance);
    memcpy(prologue, "DMMP\1", 5);
    prologue[5] = (uint8_t)options.security;
    sha256(prologue + 6, SPAN(options.session, strlen(options.session)), SPAN("", 0));
}

/* For a minute nothing is taken from a host that sent a forgery, nor through it. */
void secure_distrust(uint32_t host) {
    static unsigned turn;
    distrusted[turn % DISTRUSTED].host = host;
    distrusted[turn++ % DISTRUSTED].until = now + 60 * SECOND;
}

bool secure_distrusts(uint32_t host) {
    for (int i = 0; i < DISTRUSTED; i++)
        if (distrusted[i].host == host && now < distrusted[i].until)
            return true;
    return false;
}

void secure_tick(void) {
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
        p->key_wanted_until = p->keyed ? 0 : p->key_wanted_until;
        if (due(p->key_wanted_until)) {
            p->key_wanted_until = 0;
            p->queued = 0;
        }
        if (p->key_wanted_until && due(p->asked_at + SECOND))
            ask_for_key(p);
        for (struct link *l = p->links; l < p->links + LINKS; l++) {
            if (!l->own)
                continue;
            if (due(l->reply_at) && !l->half_open)
                put_sealed(p, l, nothing);
            if (now > l->born + (uint64_t)(l->half_open ? 10 : 180) * SECOND)
                l->own = 0;
        }
    }
    keys_tick();
}
