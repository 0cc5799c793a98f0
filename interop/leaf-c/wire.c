/* Reading and writing messages. One walk over a message's layout does both, so that what is read
   and written again gives the same bytes. */
#include "wire.h"

#include <string.h>

enum type { END, U8, U16, U32, U64, ADDRESS, ENDPOINT, RECORD, TEXT, OCTETS, IDS, HOSTS,
            INTEREST_LIST, ENDPOINT_LIST, LINK_LIST, PATH_KEY_LIST, RENEWAL_LIST, REST };

struct field { uint8_t type, limit; uint16_t at; };
struct layout { uint16_t option; struct field fields[8]; };

#define F(type, limit, member) {type, limit, offsetof(struct message, member)}
#define STATUS F(U8, 0, status)
#define SUBJECT F(RECORD, 0, record)
#define PLACE SUBJECT, F(U32, 0, super_node), F(IDS, PATH, path)

static const struct layout layouts[] = {
    {DATA, {F(REST, 0, octets)}},
    {HEARTBEAT, {F(ADDRESS, 0, group), F(ADDRESS, 0, origin_address), F(U32, 0, highest),
                 F(U8, 0, started)}},
    {CREDENTIAL, {F(OCTETS, 0, octets)}},
    {SUBSCRIPTION_REQUEST, {F(TEXT, 64, text), F(TEXT, 255, domain)}},
    {SUBSCRIPTION_RESPONSE, {STATUS, F(U32, 0, lifetime), F(ENDPOINT_LIST, 8, list)}},
    {PING_RP_REQUEST, {F(U64, 0, instance), SUBJECT, F(IDS, RECORDS, path)}},
    {PING_RP_RESPONSE, {STATUS, F(U8, 0, phase), F(U32, 0, host), F(ENDPOINT, 0, endpoint),
                        F(U32, 0, hosts_known), F(HOSTS, RECORDS, hosts)}},
    {SOURCE_REQUEST, {SUBJECT}},
    {SOURCE_RESPONSE, {STATUS, SUBJECT}},
    {CLUSTER_REQUEST, {SUBJECT}},
    {CLUSTER_RESPONSE, {STATUS, PLACE, F(HOSTS, RECORDS, hosts)}},
    {JOIN_REQUEST, {SUBJECT, F(U8, 0, passes)}},
    {JOIN_RESPONSE, {STATUS, PLACE, F(HOSTS, RECORDS, hosts)}},
    {SETUP_REQUEST, {SUBJECT, F(HOSTS, RECORDS, hosts)}},
    {SETUP_RESPONSE, {STATUS, SUBJECT}},
    {STATUS_REPORT, {F(U8, 0, state), SUBJECT}},
    {STATUS_RESPONSE, {STATUS}},
    {PROBE_REQUEST, {F(U64, 0, timestamp)}},
    {PROBE_RESPONSE, {F(U64, 0, timestamp), SUBJECT}},
    {LEAVE_REPORT, {F(U8, 0, reason), SUBJECT}},
    {LEAVE_RESPONSE, {STATUS}},
    {REFRESH_REQUEST, {F(U8, 0, kind), PLACE, F(INTEREST_LIST, INTERESTS, interests),
                       F(LINK_LIST, 100, list), F(HOSTS, 3, others)}},
    {REFRESH_RESPONSE, {STATUS, PLACE, F(HOSTS, RECORDS, hosts), F(HOSTS, 3, others),
                        F(RECORD, 0, successor)}},
    {PROMOTION_REQUEST, {SUBJECT}},
    {PROMOTION_ACK, {STATUS, SUBJECT}},
    {PROMOTION_CONFIRM, {STATUS}},
    {BREAK_REQUEST, {SUBJECT}},
    {BREAK_RESPONSE, {STATUS}},
    {BREAK_CONFIRM, {STATUS}},
    {JOIN_NOTIFICATION, {SUBJECT}},
    {DATA_REQUEST, {F(U32, 0, origin), F(U16, 0, channel), F(U32, 0, base),
                    F(OCTETS, 128, octets)}},
    {KEY_REQUEST, {F(U32, 0, epoch)}},
    {KEY_RESPONSE, {STATUS, F(U32, 0, epoch), F(U32, 0, leaf), F(PATH_KEY_LIST, KEYS, list)}},
    {KEY_LEAVE, {F(U8, 0, reason)}},
    {REKEY, {F(U32, 0, epoch), F(U16, 0, part), F(U16, 0, parts), F(RENEWAL_LIST, 18, list)}},
    {INTRODUCTION_REQUEST, {F(ENDPOINT, 0, endpoint)}},
    {INTRODUCTION_RESPONSE, {F(ENDPOINT, 0, endpoint)}},
    {RENEWAL_REQUEST, {F(OCTETS, 0, octets)}},
    {RENEWAL_RESPONSE, {STATUS, F(OCTETS, 0, octets)}},
    {ERROR, {F(U8, 0, error), F(U16, 0, wrong_option), F(U16, 0, offset), F(TEXT, 128, text)}},
};

struct codec { uint8_t *at; size_t left; bool writing, bad; struct message *message; };

uint64_t get(const uint8_t *at, size_t size)
{
    uint64_t value = 0;
    while (size--)
        value = value << 8 | *at++;
    return value;
}

void put(uint8_t *at, uint64_t value, size_t size)
{
    for (; size--; value >>= 8)
        at[size] = (uint8_t)value;
}

/* Move on by `size` bytes; after a fault nothing is left, so that all that follows fails too. */
static uint8_t *step(struct codec *c, size_t size)
{
    uint8_t *at = c->at;
    if (size > c->left) {
        c->bad = true;
        c->left = 0;
        return NULL;
    }
    c->at += size;
    c->left -= size;
    return at;
}

static uint64_t number(struct codec *c, uint64_t value, size_t size)
{
    uint8_t *at = step(c, size);
    if (!at)
        return 0;
    if (c->writing)
        put(at, value, size);
    return c->writing ? value : get(at, size);
}

static void bytes(struct codec *c, void *what, size_t size)
{
    uint8_t *at = step(c, size);
    if (at && c->writing)
        memcpy(at, what, size);
    else if (at)
        memcpy(what, at, size);
}

static void span(struct codec *c, struct span *what, size_t length)
{
    uint8_t *at = step(c, length);
    if (!at || (c->writing && !length))
        return;
    if (c->writing)
        memcpy(at, what->bytes, length);
    else
        *what = (struct span){at, length};
}

static size_t counted(struct codec *c, size_t value, size_t limit, size_t size)
{
    value = (size_t)number(c, value, size);
    if (value > limit)
        step(c, c->left + 1);
    return c->bad ? 0 : value;
}

static void endpoint(struct codec *c, struct endpoint *e)
{
    static const uint8_t nowhere[16] = {[10] = 0xff, [11] = 0xff};
    struct message *m = c->message;
    bytes(c, e->address, 16);
    e->port = (uint16_t)number(c, e->port, 2);
    if (!c->writing && !c->bad && e->port && memcmp(e->address, nowhere, 16) != 0 &&
        m->named_count < NAMED)
        m->named[m->named_count++] = *e;
}

static void record(struct codec *c, struct record *r)
{
    r->host = (uint32_t)number(c, r->host, 4);
    endpoint(c, &r->endpoint);
    r->flags = (uint8_t)number(c, r->flags, 1);
    r->depth = (uint8_t)number(c, r->depth, 1);
    r->out_degree = (uint16_t)number(c, r->out_degree, 2);
    r->free_slots = (uint16_t)number(c, r->free_slots, 2);
    r->uptime = (uint32_t)number(c, r->uptime, 4);
    r->delay_us = (uint32_t)number(c, r->delay_us, 4);
}

static void interest(struct codec *c, struct interest *i)
{
    bytes(c, i->group, 16);
    i->mode = (uint8_t)counted(c, i->mode, EXCLUDE, 1);
    i->count = (uint8_t)counted(c, i->count, 16, 1);
    bytes(c, i->sources, 16 * (size_t)i->count);
}

/* A list of elements of one size, kept as the bytes that they are. */
static void raw_list(struct codec *c, struct span *list, size_t limit, size_t size)
{
    size_t count = counted(c, list->length / size, limit, 1);
    span(c, list, count * size);
}

static void renewals(struct codec *c, struct span *list, size_t limit)
{
    if (c->writing) {
        span(c, list, list->length);
        return;
    }
    uint8_t *begin = c->at;
    for (size_t count = counted(c, 0, limit, 1); count && !c->bad; count--) {
        number(c, 0, 4);
        step(c, WRAP * counted(c, 0, 4, 1));
    }
    *list = (struct span){begin, c->bad ? 0 : (size_t)(c->at - begin)};
}

static void field(struct codec *c, const struct field *f)
{
    char *at = (char *)c->message + f->at;
    struct span *s = (struct span *)(void *)at;
    switch (f->type) {
    case U8: *(uint8_t *)at = (uint8_t)number(c, *(uint8_t *)at, 1); break;
    case U16: *(uint16_t *)(void *)at = (uint16_t)number(c, *(uint16_t *)(void *)at, 2); break;
    case U32: *(uint32_t *)(void *)at = (uint32_t)number(c, *(uint32_t *)(void *)at, 4); break;
    case U64: *(uint64_t *)(void *)at = number(c, *(uint64_t *)(void *)at, 8); break;
    case ADDRESS: bytes(c, at, 16); break;
    case ENDPOINT: endpoint(c, (struct endpoint *)(void *)at); break;
    case RECORD: record(c, (struct record *)(void *)at); break;
    case TEXT: span(c, s, counted(c, s->length, f->limit, 1)); break;
    case OCTETS: span(c, s, counted(c, s->length, f->limit ? f->limit : 1024, 2)); break;
    case REST: span(c, s, c->writing ? s->length : c->left); break;
    case ENDPOINT_LIST: raw_list(c, s, f->limit, 18); break;
    case LINK_LIST: raw_list(c, s, f->limit, 8); break;
    case PATH_KEY_LIST: raw_list(c, s, f->limit, PATH_KEY); break;
    case RENEWAL_LIST: renewals(c, s, f->limit); break;
    case IDS: {
        struct path *p = (struct path *)(void *)at;
        p->count = (uint8_t)counted(c, p->count, f->limit, 1);
        for (int i = 0; i < p->count; i++)
            p->ids[i] = (uint32_t)number(c, p->ids[i], 4);
        break;
    }
    case HOSTS: {
        struct records *r = (struct records *)(void *)at;
        r->count = (uint8_t)counted(c, r->count, f->limit, 1);
        for (int i = 0; i < r->count; i++)
            record(c, &r->hosts[i]);
        break;
    }
    case INTEREST_LIST:
        c->message->interest_count =
            (uint8_t)counted(c, c->message->interest_count, f->limit, 1);
        for (int i = 0; i < c->message->interest_count; i++)
            interest(c, &c->message->interests[i]);
    }
}

static void elements(struct codec *c)
{
    uint8_t *begin = c->at;
    for (int count = 0; c->left && !c->bad; count++) {
        uint64_t type = number(c, 0, 2), length = number(c, 0, 2);
        uint8_t *value = step(c, length);
        /* None that must be understood is known here. */
        if (!value || type < 0x8000 || count == 16) {
            c->bad = true;
            return;
        }
        c->message->signature = type == 0x8003 && length == 64 ? value : NULL;
        for (; (length & 3) && !c->bad; length++)
            c->bad |= number(c, 0, 1) != 0;
    }
    c->message->elements = (struct span){begin, (size_t)(c->at - begin)};
}

static bool walk(struct codec *c)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        if (layouts[i].option != c->message->option)
            continue;
        for (const struct field *f = layouts[i].fields; f->type != END; f++)
            field(c, f);
        if (c->writing)
            span(c, &c->message->elements, c->message->elements.length);
        else if (c->message->option != DATA)
            elements(c);
        return !c->bad && (c->writing || c->left == 0);
    }
    return false;
}

/* Read a datagram; false if it breaks any rule. */
bool decode(struct message *m, const uint8_t *from, size_t length)
{
    memset(m, 0, sizeof *m);
    if (length < HEADER || length > LARGEST || get(from + 4, 4) == 0x2112A442 || from[0] != 1 ||
        get(from + 20, 4) != length - HEADER)
        return false;
    m->tree_version = from[1];
    m->option = (uint16_t)get(from + 2, 2);
    m->session = (uint32_t)get(from + 4, 4);
    m->source = (uint32_t)get(from + 8, 4);
    m->sequence = (uint32_t)get(from + 12, 4);
    m->reserved = (uint32_t)get(from + 16, 4);
    struct codec c = {(uint8_t *)(uintptr_t)from + HEADER, length - HEADER, false, false, m};
    return walk(&c);
}

/* Write a datagram; 0 if there is no room for it. */
size_t encode(struct message *m, uint8_t *to, size_t room)
{
    if (room < HEADER)
        return 0;
    struct codec c = {to + HEADER, room - HEADER, true, false, m};
    if (!walk(&c))
        return 0;
    size_t length = (size_t)(c.at - to);
    put(to, 1, 1);
    put(to + 1, m->tree_version, 1);
    put(to + 2, m->option, 2);
    put(to + 4, m->session, 4);
    put(to + 8, m->source, 4);
    put(to + 12, m->sequence, 4);
    put(to + 16, m->reserved, 4);
    put(to + 20, length - HEADER, 4);
    return length;
}
