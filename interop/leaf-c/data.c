/* The flow: channels, what is missing and is asked for again, delivery
   (spec-notes/procedures.md, Data, and Repair). */
#include "leaf.h"
#ifdef SECURE
#include "secure.h"
#endif

#include <stdlib.h>
#include <string.h>

enum { CHANNELS = 64, WINDOW = 4096, HELD = 1024, REQUESTED = 1024, EARLIER = 32 };
enum { HELD_BYTES = 8 << 20, STORED_BYTES = 16 << 20 };

/* One number of a channel. held: here, but not proven yet; bytes: until its turn comes. */
struct slot {
    bool seen, held, missing;
    uint8_t tries;
    uint32_t length;
    uint64_t found, ask_at;
    uint8_t *bytes;
};
/* Numbers of a channel wrap; `highest` is the newest seen or told of once `begun`. */
struct channel {
    uint32_t origin, highest, proven, told, beats, next, oldest; /* oldest: of the missing */
    uint16_t number;
    bool announced, wanted, begun;
    uint64_t heard, asked, gap_at;
    int missing;
    struct slot slots[WINDOW];
};
/* What waits: for its announcement or its proof, or (accepted) for its key. */
struct held {
    struct channel *channel;
    struct endpoint from;
    bool accepted;
    uint64_t until;
    size_t length;
    uint8_t *bytes;
};

static struct channel *channels[CHANNELS];
static struct held waiting[HELD];
static size_t waiting_bytes, stored_bytes;
static int waiting_count;
static uint64_t retried_until; /* while what waited is tried again: its own time */
static uint64_t sweep_at, last_data, last_sign, steady_since, longest_gap;
static uint64_t silence_at, silence_pause;
static unsigned flow_count;
static bool idle = true;

static bool accept(struct channel *c, const struct endpoint *from, const uint8_t *bytes,
                   size_t length);
static void hand_over(struct channel *c, const struct endpoint *from, const uint8_t *bytes,
                      size_t length);

static struct channel *channel_of(uint32_t origin, uint16_t number, bool make)
{
    struct channel **slot = NULL;
    for (struct channel **c = channels; c < channels + CHANNELS; c++) {
        if (*c && (*c)->origin == origin && (*c)->number == number)
            return *c;
        if (!*c && !slot)
            slot = c;
    }
    if (!make || !slot || !(*slot = calloc(1, sizeof **slot)))
        return NULL;
    (*slot)->origin = origin;
    (*slot)->number = number;
    (*slot)->wanted = options.security != NONE && number == 0; /* the origin's key messages */
    return *slot;
}

static bool wants(const uint8_t *group, const uint8_t *source)
{
    for (int i = 0; i < options.interest_count; i++) {
        const struct interest *wish = &options.interests[i];
        bool listed = false;
        for (int j = 0; j < wish->count; j++)
            listed |= memcmp(wish->sources[j], source, 16) == 0;
        if (memcmp(wish->group, group, 16) == 0 && (wish->mode == EXCLUDE) != listed)
            return true;
    }
    return false;
}

static struct slot *slot_of(struct channel *c, uint32_t number)
{
    return &c->slots[number % WINDOW];
}

/* Keep a packet until it can be accepted, or opened. */
static void hold(struct channel *c, const struct endpoint *from, const uint8_t *bytes,
                 size_t length, uint64_t until, bool accepted)
{
    struct held *h = &waiting[waiting_count];
    uint8_t *copy = NULL;
    if (waiting_count < HELD && waiting_bytes + length <= HELD_BYTES)
        copy = malloc(length);
    if (!copy) {
        counters.dropped++;
        return;
    }
    memcpy(copy, bytes, length);
    *h = (struct held){c, *from, accepted, retried_until ? retried_until : until, length, copy};
    waiting_bytes += length;
    waiting_count++;
    if (!accepted)
        slot_of(c, (uint32_t)get(bytes + 12, 4))->held = true;
}

/* Try all that waits once more, in order: an announcement, a manifest or a key has come. */
void data_again(void)
{
    static struct held old[HELD];
    static bool busy, more;
    more = waiting_count > 0;
    if (busy)
        return;
    for (busy = true; more;) {
        int count = waiting_count;
        memcpy(old, waiting, (size_t)count * sizeof *old);
        waiting_count = 0;
        waiting_bytes = 0;
        more = false;
        for (struct held *h = old; h < old + count; h++) {
            retried_until = h->until;
            if (!h->accepted)
                slot_of(h->channel, (uint32_t)get(h->bytes + 12, 4))->held = false;
            if (h->until <= now)
                counters.dropped++;
            else if (h->accepted)
                hand_over(h->channel, &h->from, h->bytes, h->length);
            else
                accept(h->channel, &h->from, h->bytes, h->length);
            free(h->bytes);
        }
        retried_until = 0;
    }
    busy = false;
}

/* Silence: how long the flow may pause before somebody asks whether the parent lives */

static void sign_of_life(bool data)
{
    uint64_t gap = now - last_data;
    last_sign = now;
    silence_at = 0;
    if (!data)
        return;
    if (gap > SECOND / 2) {
        steady_since = now;
        flow_count = 0;
        longest_gap = 0;
    } else {
        longest_gap -= longest_gap * gap / (2 * SECOND); /* what was long ago counts less */
        longest_gap = gap > longest_gap ? gap : longest_gap;
    }
    flow_count++;
    last_data = now;
    idle = false;
}

static uint64_t greater(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

/* The silence that is too long; 0 while the flow is not steady. */
static uint64_t threshold(void)
{
    uint64_t span = last_data - steady_since, trip = member_round_trip();
    if (flow_count < 8 || span < 300 * MILLI || idle || !trip || now - last_sign > 15 * SECOND)
        return 0;
    uint64_t limit = greater(100 * MILLI, greater(3 * trip, 5 * span / flow_count));
    return greater(limit, 2 * longest_gap < SECOND / 2 ? 2 * longest_gap : SECOND / 2);
}

static void tick_silence(void)
{
    uint64_t limit = threshold();
    if (!limit)
        return;
    if (!silence_at) {
        silence_at = last_sign + limit;
        silence_pause = limit;
    }
    if (!due(silence_at))
        return;
    if (now > silence_at + limit / 2 && silence_pause == limit) {
        silence_pause++; /* this host was held up: once more */
        silence_at = now + limit;
    } else {
        silence_at = now + silence_pause;
        silence_pause = 2 * silence_pause < SECOND ? 2 * silence_pause : SECOND;
        member_silence();
    }
    due(silence_at);
}

/* What is missing */

static void found(struct channel *c, struct slot *s)
{
    c->missing -= s->missing;
    s->missing = false;
}

static void clear(struct channel *c, struct slot *s)
{
    counters.lost += s->missing;
    found(c, s);
    stored_bytes -= s->bytes ? s->length : 0;
    free(s->bytes);
    *s = (struct slot){0};
}

/* Move the window on to `highest`. */
static void advance(struct channel *c, uint32_t highest)
{
    uint32_t ahead = highest - c->highest;
    if (!c->begun || ahead > 65536)
        c->next = highest;
    if (!c->begun || ahead > WINDOW)
        ahead = WINDOW;
    for (uint32_t n = highest - ahead + 1; n != highest + 1; n++)
        clear(c, slot_of(c, n));
    c->begun = true;
    c->highest = highest;
    if (highest - c->next >= WINDOW)
        c->next = highest - WINDOW + 1;
    if (highest - c->oldest >= WINDOW)
        c->oldest = highest - WINDOW + 1;
}

/* The numbers from `first` to before `end` are missing. */
static void miss(struct channel *c, uint32_t first, uint32_t end)
{
    if (!c->wanted)
        return;
    if (c->highest - first >= WINDOW) {
        counters.lost += c->highest - WINDOW + 1 - first;
        first = c->highest - WINDOW + 1;
    }
    for (uint32_t n = first; n != end; n++) {
        struct slot *s = slot_of(c, n);
        if (!c->missing++)
            c->oldest = n;
        s->missing = true;
        s->found = now;
        s->ask_at = now + 10 * MILLI;
    }
}

/* Take notice of a number ahead of all before; those that it passes over are missing. */
static void pass_over(struct channel *c, uint32_t number, uint32_t end)
{
    uint32_t first = (c->begun ? c->highest : c->told) + 1, passed = end - first;
    bool counts = c->begun ? passed < 65536 : c->announced && passed <= EARLIER;
    bool begun = c->begun;
    advance(c, number);
    if (!counts)
        return;
    c->next = begun ? c->next : first;
    miss(c, first, end);
}

static void request(const struct channel *c, const struct endpoint *to, uint32_t base,
                    const uint8_t *bitmap, size_t length)
{
    static struct message m;
    if (!to)
        return;
    member_begin(&m, DATA_REQUEST);
    m.origin = c->origin;
    m.channel = c->number;
    m.base = base;
    m.octets = (struct span){bitmap, length};
    member_send(&m, to);
}

/* Ask for a channel's heartbeat, with which its origin's certificate comes. */
static void request_announcement(struct channel *c, const struct endpoint *to, uint32_t number)
{
    if (now < c->asked + 100 * MILLI)
        return;
    c->asked = now;
    request(c, to, number, (const uint8_t *)"", 1);
}

/* Wait for the answer to the try of this number (Decision 18). */
static uint64_t patience(int tries)
{
    uint64_t trip = member_round_trip(), wait = trip ? greater(2 * trip, 30 * MILLI) : 100 * MILLI;
    while (--tries > 0 && wait < SECOND / 2)
        wait = wait * 3 / 2;
    return wait < SECOND / 2 ? wait : SECOND / 2;
}

/* Ask for what is due, in one request if it fits; whom, by the age of the first that is. */
static void ask(struct channel *c)
{
    uint8_t bitmap[REQUESTED / 8] = {0};
    uint32_t base = 0, end = 0, oldest = c->highest + 1;
    const struct endpoint *to = NULL;
    for (uint32_t n = c->oldest; c->missing && n != c->highest + 1; n++) {
        struct slot *s = slot_of(c, n);
        if (s->missing && now >= s->found + 2 * SECOND) {
            found(c, s);
            counters.lost++;
        }
        if (!s->missing)
            continue;
        oldest = oldest == c->highest + 1 ? n : oldest;
        if (s->held || !due(s->ask_at))
            continue;
        if (!end) {
            bool upstream = now < s->found + 400 * MILLI || s->tries % 2 == 0;
            to = member_repairer(s->tries / 2, upstream);
            to = to ? to : member_repairer(s->tries, !upstream);
            base = n;
        }
        if (n - base >= REQUESTED)
            continue;
        bitmap[(n - base) / 8] |= (uint8_t)(0x80 >> (n - base) % 8);
        end = n - base + 1;
        s->tries += to != NULL;
        s->ask_at = now + (to ? patience(s->tries) : 50 * MILLI);
        due(s->ask_at);
    }
    c->oldest = oldest;
    request(c, end ? to : NULL, base, bitmap, (end + 7) / 8);
}

/* A new parent is asked for what follows, and for what is missing, ahead of the Refresh. */
void data_new_upstream(const struct endpoint *to)
{
    last_sign = now;
    silence_at = 0;
    for (int i = 0; i < CHANNELS; i++) {
        struct channel *c = channels[i];
        if (!c || !c->wanted)
            continue;
        request(c, to, (c->begun ? c->highest : c->told) + 1, NULL, 0);
        for (int j = 0; j < WINDOW; j++)
            c->slots[j].ask_at = now;
        ask(c);
    }
}

/* What comes */

/* Open a packet and give it to programs; a packet whose key is missing waits for it. */
static void hand_over(struct channel *c, const struct endpoint *from, const uint8_t *bytes,
                      size_t length)
{
#ifdef SECURE
    static uint8_t plain[65536];
    if (options.security != NONE) {
        size_t got = 0;
        switch (proof_open(bytes, length, plain, &got)) {
        case GOOD: deliver(plain, got); break;
        case WAIT: hold(c, from, bytes, length, now + 2 * SECOND, true); break;
        case BAD: counters.unopened++; break;
        case NOTHING: break;
        }
        return;
    }
#endif
    (void)c;
    (void)from;
    deliver(bytes + HEADER, length - HEADER);
}

/* Hand over what is next in order; what is missing is waited for, but not longer than asked. */
static void in_order(struct channel *c)
{
    static const struct endpoint nowhere;
    for (; c->next != c->highest + 1; c->next++) {
        struct slot *s = slot_of(c, c->next);
        if (!s->seen && c->highest - c->next < WINDOW - 64) {
            c->gap_at = c->gap_at ? c->gap_at : now + options.order_delay;
            if (!due(c->gap_at))
                return;
        }
        if (!s->bytes)
            continue;
        c->gap_at = 0;
        hand_over(c, &nowhere, s->bytes, s->length);
        stored_bytes -= s->length;
        free(s->bytes);
        s->bytes = NULL;
    }
    c->gap_at = 0;
}

static void store(struct channel *c, struct slot *s, const uint8_t *bytes, size_t length)
{
    if ((int32_t)((uint32_t)get(bytes + 12, 4) - c->next) >= 0 &&
        stored_bytes + length <= STORED_BYTES)
        s->bytes = malloc(length);
    if (!s->bytes) {
        counters.dropped++;
        return;
    }
    memcpy(s->bytes, bytes, length);
    s->length = (uint32_t)length;
    stored_bytes += length;
}

#ifdef SECURE
/* Whether a packet is proven; what is in no manifest yet waits, and the numbers before it are
   asked for, as the manifest is one of them. */
static bool prove(struct channel *c, const struct endpoint *from, const uint8_t *bytes,
                  size_t length)
{
    uint32_t number = (uint32_t)get(bytes + 12, 4);
    enum verdict verdict = proof_packet(bytes, length);
    if (verdict == WAIT) {
        if (c->begun && (int32_t)(number - c->highest) > 0 && number - c->proven <= 256)
            pass_over(c, number, number + 1);
        hold(c, from, bytes, length, now + SECOND / 2, false);
    } else if (verdict == BAD) {
        counters.forged++;
        note("forged: channel %u, number %u", c->number, number);
        if (get(bytes + 16, 4) & (FLAG_SIGNED | FLAG_MANIFEST))
            member_forged(from);
    }
    return verdict == GOOD;
}
#endif

/* Take a packet that may come from where it came; true if it was new. */
static bool accept(struct channel *c, const struct endpoint *from, const uint8_t *bytes,
                   size_t length)
{
    uint32_t number = (uint32_t)get(bytes + 12, 4);
    int32_t ahead = (int32_t)(number - c->highest);
    struct slot *s = slot_of(c, number);
    if (c->begun && (ahead <= -WINDOW || (ahead <= 0 && s->seen))) {
        counters.duplicates++;
        return false;
    }
    if (!c->announced && c->number) {
        hold(c, from, bytes, length, now + 2 * SECOND, false);
        request_announcement(c, from, number);
        return false;
    }
#ifdef SECURE
    if (options.security != NONE && c->wanted && !prove(c, from, bytes, length))
        return false;
#endif
    if (!c->begun || ahead > 0)
        pass_over(c, number, number);
    counters.repaired += s->missing && s->tries && !retried_until;
    found(c, s);
    s->seen = true;
    if (ahead > 0 || !c->proven)
        c->proven = number;
    if (!c->wanted)
        return true;
    bool is_for_programs = true;
#ifdef SECURE
    if (options.security != NONE && proof_took(bytes, length)) { /* a manifest, or a Rekey */
        is_for_programs = false;
        data_again();
    }
#endif
    if (options.order_delay) {
        if (is_for_programs)
            store(c, s, bytes, length);
        in_order(c);
    } else if (is_for_programs) {
        hand_over(c, from, bytes, length);
    }
    return true;
}

static void on_heartbeat(const struct endpoint *from, const uint8_t *bytes, size_t length)
{
    static struct message m;
    if (!decode(&m, bytes, length) || !member_upstream(from)) {
        counters.dropped++;
        return;
    }
    struct channel *c = channel_of(m.source, (uint16_t)m.reserved, true);
    if (!c)
        return;
#ifdef SECURE
    if (options.security != NONE) {
        enum verdict verdict = proof_heartbeat(&m, bytes, length);
        if (verdict == WAIT) {
            request_announcement(c, from, 0); /* the origin's certificate is missing */
        } else if (verdict == BAD) {
            counters.forged++;
            member_forged(from);
        }
        if (verdict != GOOD)
            return;
    }
#endif
    c->heard = now;
    if (c->announced && (int32_t)(m.sequence - c->beats) <= 0)
        return;
    c->beats = m.sequence;
    c->wanted = c->number == 0 || wants(m.group, m.origin_address);
    if (!c->announced) {
        c->announced = true;
        c->told = m.highest;
        note("channel %u of %u%s", c->number, c->origin, c->wanted ? "" : ", not wanted");
        data_again();
    }
    uint32_t ahead = m.highest - (c->begun ? c->highest : c->told);
    bool tail = ahead && ahead <= (c->begun ? 65536 : EARLIER);
    if (tail && m.started)
        pass_over(c, m.highest, m.highest + 1);
    if (!tail && now - last_data > 4 * longest_gap + 20 * MILLI)
        idle = true;
    if (c->wanted)
        sign_of_life(false);
}

void data_receive(const struct endpoint *from, const uint8_t *bytes, size_t length, bool sealed)
{
    uint64_t option = length >= HEADER ? get(bytes + 2, 2) : ERROR;
    uint32_t flags = length >= HEADER ? (uint32_t)get(bytes + 16, 4) : 0;
    bool needs_seal = option != DATA || (flags & (FLAG_MANIFEST | FLAG_SIGNED));
    if (option > CREDENTIAL || bytes[0] != 1 || get(bytes + 20, 4) != length - HEADER ||
        get(bytes + 4, 4) != session_id || !session_id || !member_takes(bytes[1]) ||
        (options.security != NONE && sealed != needs_seal)) {
        counters.dropped++;
        return;
    }
    if (option == HEARTBEAT) {
        on_heartbeat(from, bytes, length);
        return;
    }
    bool upstream = member_upstream(from);
#ifdef SECURE
    if (option == CREDENTIAL && options.security != NONE) {
        if (upstream && proof_credential(bytes, length))
            data_again();
        return;
    }
#endif
    struct channel *c = channel_of((uint32_t)get(bytes + 8, 4), (uint16_t)flags, upstream);
    uint32_t number = (uint32_t)get(bytes + 12, 4);
    /* Of a relative only what was asked for is taken. */
    if (option != DATA || !c ||
        (!upstream && !(member_relative(from) && c->highest - number < WINDOW &&
                        slot_of(c, number)->missing && slot_of(c, number)->tries))) {
        counters.dropped++;
        return;
    }
    c->heard = now;
    if (accept(c, from, bytes, length) && upstream)
        sign_of_life(true);
}

static void forget(struct channel **c)
{
    for (int i = 0; i < WINDOW; i++)
        clear(*c, &(*c)->slots[i]);
    free(*c);
    *c = NULL;
}

void data_tick(void)
{
    tick_silence();
    bool sweep = due(sweep_at);
    if (sweep || !sweep_at) {
        sweep_at = now + SECOND;
        due(sweep_at);
        data_again();
    }
    for (struct channel **c = channels; c < channels + CHANNELS; c++) {
        if (!*c)
            continue;
        if ((*c)->missing)
            ask(*c);
        if (options.order_delay && (*c)->begun)
            in_order(*c);
        if (sweep && now > (*c)->heard + 15 * SECOND && !waiting_count)
            forget(c);
    }
}
