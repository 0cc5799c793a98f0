/* Reading and writing messages. One walk over a message's layout does both, so that what is read
   and written again gives the same bytes. */
#include "leaf.h"

#include <string.h>

enum type { END, U8, U16, U32, U64, ADDRESS, ENDPOINT, RECORD, TEXT, OCTETS, IDS, HOSTS, WISHES,
            LIST, RENEWALS, REST };

/* `limit` is the most elements or bytes that there may be, `size` that of a list's elements. */
struct field { uint8_t type; uint16_t limit; uint8_t size; uint16_t at; };
struct layout { uint16_t option; struct field fields[8]; };

#define F(type, member) {type, 0, 0, offsetof(struct message, member)}
#define MOST(limit, type, member) {type, limit, 0, offsetof(struct message, member)}
#define LIST_OF(size, limit) {LIST, limit, size, offsetof(struct message, list)}
#define STATUS F(U8, status)
#define SUBJECT F(RECORD, record)
#define PLACE SUBJECT, F(U32, super_node), MOST(PATH, IDS, path)
#define NAMES MOST(RECORDS, HOSTS, hosts)

static const struct layout layouts[] = {
    {DATA, {F(REST, octets)}},
    {HEARTBEAT, {F(ADDRESS, group), F(ADDRESS, origin_address), F(U32, highest), F(U8, started)}},
    {CREDENTIAL, {MOST(1024, OCTETS, octets)}},
    {SUBSCRIPTION_REQUEST, {MOST(64, TEXT, text), MOST(255, TEXT, domain)}},
    {SUBSCRIPTION_RESPONSE, {STATUS, F(U32, lifetime), LIST_OF(18, 8)}},
    {PING_RP_REQUEST, {F(U64, instance), SUBJECT, MOST(RECORDS, IDS, path)}},
    {PING_RP_RESPONSE, {STATUS, F(U8, phase), F(U32, host), F(ENDPOINT, endpoint),
                        F(U32, hosts_known), NAMES}},
    {SOURCE_REQUEST, {SUBJECT}},
    {SOURCE_RESPONSE, {STATUS, SUBJECT}},
    {CLUSTER_REQUEST, {SUBJECT}},
    {CLUSTER_RESPONSE, {STATUS, PLACE, NAMES}},
    {JOIN_REQUEST, {SUBJECT, F(U8, passes)}},
    {JOIN_RESPONSE, {STATUS, PLACE, NAMES}},
    {SETUP_REQUEST, {SUBJECT, NAMES}},
    {SETUP_RESPONSE, {STATUS, SUBJECT}},
    {STATUS_REPORT, {F(U8, state), SUBJECT}},
    {STATUS_RESPONSE, {STATUS}},
    {PROBE_REQUEST, {F(U64, timestamp)}},
    {PROBE_RESPONSE, {F(U64, timestamp), SUBJECT}},
    {LEAVE_REPORT, {F(U8, reason), SUBJECT}},
    {LEAVE_RESPONSE, {STATUS}},
    {REFRESH_REQUEST, {F(U8, kind), PLACE, MOST(INTERESTS, WISHES, interests), LIST_OF(8, 100),
                       MOST(3, HOSTS, others)}},
    {REFRESH_RESPONSE, {STATUS, PLACE, NAMES, MOST(3, HOSTS, others), F(RECORD, successor)}},
    {PROMOTION_REQUEST, {SUBJECT}},
    {PROMOTION_ACK, {STATUS, SUBJECT}},
    {PROMOTION_CONFIRM, {STATUS}},
    {BREAK_REQUEST, {SUBJECT}},
    {BREAK_RESPONSE, {STATUS}},
    {BREAK_CONFIRM, {STATUS}},
    {JOIN_NOTIFICATION, {SUBJECT}},
    {DATA_REQUEST, {F(U32, origin), F(U16, channel), F(U32, base), MOST(128, OCTETS, octets)}},
    {KEY_REQUEST, {F(U32, epoch)}},
    {KEY_RESPONSE, {STATUS, F(U32, epoch), F(U32, leaf), LIST_OF(PATH_KEY, KEYS)}},
    {KEY_LEAVE, {F(U8, reason)}},
    {REKEY, {F(U32, epoch), F(U16, part), F(U16, parts), MOST(18, RENEWALS, list)}},
    {INTRODUCTION_REQUEST, {F(ENDPOINT, endpoint)}},
    {INTRODUCTION_RESPONSE, {F(ENDPOINT, endpoint)}},
    {RENEWAL_REQUEST, {MOST(1024, OCTETS, octets)}},
    {RENEWAL_RESPONSE, {STATUS, MOST(1024, OCTETS, octets)}},
    {ERROR, {F(U8, error), F(U16, wrong_option), F(U16, offset), MOST(128, TEXT, text)}},
};

struct codec { uint8_t *at; size_t left; bool writing, bad; struct message *message; };

uint64_t get(const uint8_t *at, size_t size) {
    uint64_t value = 0;
    while (size--)
        value = value << 8 | *at++;
    return value;
}

void put(uint8_t *at, uint64_t value, size_t size) {
    for (; size--; value >>= 8)
        at[size] = (uint8_t)value;
}

/* Move on by `size` bytes; after a fault nothing is left, so that all that follows fails too. */
static uint8_t *step(struct codec *c, size_t size) {
    uint8_t *at = c->at;
    c->bad |= size > c->left;
    c->left = c->bad ? 0 : c->left - size;
    c->at += c->bad ? 0 : size;
    return c->bad ? NULL : at;
}

static uint64_t number(struct codec *c, uint64_t value, size_t size) {
    uint8_t *at = step(c, size);
    if (at && c->writing)
        put(at, value, size);
    return at ? get(at, size) : 0;
}

static void bytes(struct codec *c, void *what, size_t size) {
    uint8_t *at = step(c, size);
    if (at)
        memcpy(c->writing ? at : what, c->writing ? what : at, size);
}

static void span(struct codec *c, struct span *what, size_t length) {
    uint8_t *at = step(c, length);
    if (at && c->writing && length)
        memcpy(at, what->bytes, length);
    else if (at && !c->writing)
        *what = (struct span){at, length};
}

/* A count or length of `size` bytes, which must not be beyond its limit. */
static size_t counted(struct codec *c, size_t value, size_t limit, size_t size) {
    value = (size_t)number(c, value, size);
    c->bad |= value > limit;
    return c->bad ? 0 : value;
}

static void endpoint(struct codec *c, struct endpoint *e) {
    static const uint8_t nowhere[16] = NOWHERE;
    struct message *m = c->message;
    bytes(c, e->address, 16);
    e->port = (uint16_t)number(c, e->port, 2);
    if (!c->bad && e->port && memcmp(e->address, nowhere, 16) != 0 && m->named_count < NAMED)
        m->named[m->named_count++] = *e;
}

static void record(struct codec *c, struct record *r) {
    r->host = (uint32_t)number(c, r->host, 4);
    endpoint(c, &r->endpoint);
    r->flags = (uint8_t)number(c, r->flags, 1);
    r->depth = (uint8_t)number(c, r->depth, 1);
    r->out_degree = (uint16_t)number(c, r->out_degree, 2);
    r->free_slots = (uint16_t)number(c, r->free_slots, 2);
    r->uptime = (uint32_t)number(c, r->uptime, 4);
    r->delay_us = (uint32_t)number(c, r->delay_us, 4);
}

static void interest(struct codec *c, struct interest *i) {
    bytes(c, i->group, 16);
    i->mode = (uint8_t)counted(c, i->mode, EXCLUDE, 1);
    i->count = (uint8_t)counted(c, i->count, 16, 1);
    bytes(c, i->sources, 16 * (size_t)i->count);
}

/* A Rekey's renewals, each a node and its wraps, are kept as the bytes that they are. */
static void renewals(struct codec *c, struct span *list, size_t limit) {
    uint8_t *start = c->at;
    if (c->writing) {
        span(c, list, list->length);
        return;
    }
    for (size_t count = counted(c, 0, limit, 1); count && !c->bad; count--) {
        number(c, 0, 4);
        step(c, WRAP * counted(c, 0, 4, 1));
    }
    *list = (struct span){start, c->bad ? 0 : (size_t)(c->at - start)};
}

static void field(struct codec *c, const struct field *f) {
    void *at = (char *)c->message + f->at;
    struct span *s = at;
    struct path *p = at;
    struct records *r = at;
    uint8_t *count = &c->message->interest_count;
    switch (f->type) {
    case U8: *(uint8_t *)at = (uint8_t)number(c, *(uint8_t *)at, 1); break;
    case U16: *(uint16_t *)at = (uint16_t)number(c, *(uint16_t *)at, 2); break;
    case U32: *(uint32_t *)at = (uint32_t)number(c, *(uint32_t *)at, 4); break;
    case U64: *(uint64_t *)at = number(c, *(uint64_t *)at, 8); break;
    case ADDRESS: bytes(c, at, 16); break;
    case ENDPOINT: endpoint(c, at); break;
    case RECORD: record(c, at); break;
    case TEXT: span(c, s, counted(c, s->length, f->limit, 1)); break;
    case OCTETS: span(c, s, counted(c, s->length, f->limit, 2)); break;
    case REST: span(c, s, c->writing ? s->length : c->left); break;
    case LIST: span(c, s, f->size * counted(c, s->length / f->size, f->limit, 1)); break;
    case RENEWALS: renewals(c, s, f->limit); break;
    case IDS:
        p->count = (uint8_t)counted(c, p->count, f->limit, 1);
        for (int i = 0; i < p->count; i++)
            p->ids[i] = (uint32_t)number(c, p->ids[i], 4);
        break;
    case HOSTS:
        r->count = (uint8_t)counted(c, r->count, f->limit, 1);
        for (int i = 0; i < r->count; i++)
            record(c, &r->hosts[i]);
        break;
    case WISHES:
        *count = (uint8_t)counted(c, *count, f->limit, 1);
        for (int i = 0; i < *count; i++)
            interest(c, &c->message->interests[i]);
    }
}

/* The elements behind the fields; none that must be understood is known here. */
static void elements(struct codec *c) {
    uint8_t *start = c->at;
    for (int count = 0; c->left; count++) {
        uint64_t type = number(c, 0, 2), length = number(c, 0, 2);
        uint8_t *value = step(c, length);
        c->bad |= type < 0x8000 || count == 16;
        c->message->signature = type == 0x8003 && length == 64 ? value : NULL;
        for (; length & 3 && !c->bad; length++)
            c->bad |= number(c, 0, 1) != 0;
    }
    c->message->elements = (struct span){start, (size_t)(c->at - start)};
}

static bool walk(struct codec *c) {
    struct message *m = c->message;
    c->bad |= number(c, 1, 1) != 1;
    m->tree_version = (uint8_t)number(c, m->tree_version, 1);
    m->option = (uint16_t)number(c, m->option, 2);
    m->session = (uint32_t)number(c, m->session, 4);
    m->source = (uint32_t)number(c, m->source, 4);
    m->sequence = (uint32_t)number(c, m->sequence, 4);
    m->reserved = (uint32_t)number(c, m->reserved, 4);
    uint64_t length = number(c, 0, 4);
    c->bad |= !c->writing && (length != c->left || m->session == 0x2112a442); /* STUN */
    const struct layout *l = layouts, *end = layouts + sizeof layouts / sizeof *layouts;
    while (l < end && l->option != m->option)
        l++;
    for (const struct field *f = l->fields; l < end && f->type != END; f++)
        field(c, f);
    if (c->writing)
        span(c, &m->elements, m->elements.length);
    else if (m->option != DATA)
        elements(c);
    return l < end && !c->bad;
}

/* Read a datagram; false if it breaks any rule. */
bool decode(struct message *m, const uint8_t *from, size_t length) {
    memset(m, 0, sizeof *m);
    struct codec c = {(uint8_t *)(uintptr_t)from, length, false, length > LARGEST, m};
    return walk(&c);
}

/* Write a datagram; 0 if there is no room for it. */
size_t encode(struct message *m, uint8_t *to, size_t room) {
    struct codec c = {to, room, true, false, m};
    if (!walk(&c))
        return 0;
    put(to + 20, (uint64_t)(c.at - to) - HEADER, 4);
    return (size_t)(c.at - to);
}
