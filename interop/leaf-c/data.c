/* The flow: channels, what is missing and is asked for again, delivery
   (spec-notes/procedures.md, Data, and Repair). */
#include "leaf.h"

#include <stdlib.h>
#include <string.h>

/* A channel has slots for the numbers of a window, and for some ahead of it. */
enum { CHANNELS = 64, SLOTS = 4096, WINDOW = 3072, AHEAD = 256, REQUESTED = 1024, EARLIER = 32 };
enum { STORED_BYTES = 16 << 20, JUMP = 65536 };

/* What is known of one number. A packet is UNPROVEN until its channel is announced and, in a
   secured session, a manifest lists it; a PROVEN one waits for its key, or its turn. */
struct slot {
    uint32_t number, length;
    enum { UNKNOWN, MISSING, UNPROVEN, PROVEN, DONE } state;
    uint8_t tries, digest[16];
    bool listed;
    uint64_t found, ask_at, until;
    struct endpoint from;
    uint8_t *bytes;
};
/* Numbers of a channel wrap; `highest` is the newest seen or told of once `begun`. */
struct channel {
    uint32_t origin, highest, proven, told, beats, next, oldest; /* none is missing before */
    uint16_t number;
    bool announced, begun, holds; /* holds: there are packets that wait */
    uint64_t heard, asked, gap_at;
    struct slot slots[SLOTS];
};

static struct channel *channels[CHANNELS];
static size_t stored_bytes;
static bool idle = true; /* the source is */
static uint64_t sweep_at = 1, last_data, last_sign, steady_since, longest_gap;
static uint64_t silence_at, silence_pause;

static struct channel *channel_of(uint32_t origin, uint16_t number, bool make) {
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
    (*slot)->announced = number == 0; /* the origin's key messages */
    return *slot;
}

/* Empty a slot of its packet. */
static void drop(struct slot *s, int state) {
    stored_bytes -= s->bytes ? s->length : 0;
    free(s->bytes);
    s->bytes = NULL;
    s->state = state;
}

/* The slot of a number; what was there of another number is forgotten. */
static struct slot *slot_of(struct channel *c, uint32_t number) {
    struct slot *s = &c->slots[number % SLOTS];
    if (s->number != number) {
        counters.lost += s->state == MISSING;
        drop(s, UNKNOWN);
        *s = (struct slot){.number = number};
    }
    return s;
}

uint8_t *data_digest(struct channel *c, uint32_t number, bool make) {
    struct slot *s = make ? slot_of(c, number) : &c->slots[number % SLOTS];
    s->listed |= make;
    return s->number == number && s->listed ? s->digest : NULL;
}

/* Silence: how long the flow may pause before somebody asks whether the parent lives */

static void sign_of_life(bool data) {
    uint64_t gap = now - last_data;
    last_sign = now;
    silence_at = 0;
    if (!data)
        return;
    if (gap > SECOND / 2)
        steady_since = now;
    longest_gap -= longest_gap * gap / (2 * SECOND); /* what was long ago counts less */
    if (gap > longest_gap || gap > SECOND / 2)
        longest_gap = gap > SECOND / 2 ? 0 : gap;
    last_data = now;
    idle = false;
}

static uint64_t greater(uint64_t one, uint64_t other) {
    return one > other ? one : other;
}

/* While the flow is steady ask whether the parent lives, twice as long after each time. */
static void tick_silence(void) {
    bool steady = last_data > steady_since + 300 * MILLI && now < last_sign + 15 * SECOND;
    if (!steady || idle || !round_trip)
        return;
    if (!silence_at) {
        silence_pause = greater(100 * MILLI, greater(3 * round_trip, 2 * longest_gap));
        silence_at = last_sign + silence_pause;
    }
    if (!due(silence_at))
        return;
    silence_at = now + silence_pause;
    silence_pause = 2 * silence_pause < SECOND ? 2 * silence_pause : SECOND;
    member_silence();
}

/* What is missing */

static void miss(struct channel *c, uint32_t number) {
    struct slot *s = slot_of(c, number);
    if (s->state != UNKNOWN)
        return;
    if ((int32_t)(number - c->oldest) < 0)
        c->oldest = number;
    s->state = MISSING;
    s->found = s->found ? s->found : now;
    s->ask_at = now + 10 * MILLI;
}

/* Take notice of a number ahead of all before; those that it passes over are missing, and it as
   well if it is not `here`. One too far ahead begins the channel anew. */
static void reach(struct channel *c, uint32_t number, bool here) {
    uint32_t first = (c->begun ? c->highest : c->told) + 1, passed = number - first;
    bool counts = c->begun ? passed < JUMP : c->announced && c->number && passed <= EARLIER;
    if (!c->begun || !counts)
        c->next = c->oldest = counts ? first : number;
    c->begun = true;
    c->highest = number;
    if (passed >= WINDOW && counts) {
        counters.lost += passed - WINDOW + 1;
        first = number - WINDOW + 1;
    }
    for (uint32_t n = first; counts && n != number + !here; n++)
        miss(c, n);
    if (number - c->next >= WINDOW)
        c->next = number - WINDOW + 1;
}

static void request(const struct channel *c, const struct endpoint *to, uint32_t base,
                    const uint8_t *bitmap, size_t length) {
    struct message *m = begin(DATA_REQUEST);
    m->origin = c->origin;
    m->channel = c->number;
    m->base = base;
    m->octets = SPAN(bitmap, length);
    send_message(m, to);
}

/* Ask for a channel's heartbeat, with which its origin's certificate comes. */
static void request_announcement(struct channel *c, const struct endpoint *to) {
    if (now < c->asked + 100 * MILLI)
        return;
    c->asked = now;
    request(c, to, 0, (const uint8_t *)"", 1);
}

/* Wait for the answer to the try of this number. */
static uint64_t patience(int tries) {
    uint64_t wait = round_trip ? greater(2 * round_trip, 30 * MILLI) : 100 * MILLI;
    while (--tries > 0 && wait < SECOND / 2)
        wait = wait * 3 / 2;
    return wait < SECOND / 2 ? wait : SECOND / 2;
}

/* Ask upstream for what is due, in one request. */
static void ask_for_missing(struct channel *c) {
    const struct endpoint *to = member_upstream();
    uint8_t bitmap[REQUESTED / 8] = {0};
    uint32_t base = 0, end = 0, n = c->oldest;
    if ((int32_t)(n - c->highest) <= -WINDOW)
        n = c->highest - WINDOW + 1;
    c->oldest = c->highest + 1;
    for (; n != c->highest + 1; n++) {
        struct slot *s = slot_of(c, n);
        if (s->state != MISSING)
            continue;
        if (now >= s->found + 2 * SECOND) {
            s->state = UNKNOWN;
            counters.lost++;
            continue;
        }
        if (c->oldest == c->highest + 1)
            c->oldest = n;
        base = end ? base : n;
        if (!due(s->ask_at) || !to || n - base >= REQUESTED)
            continue;
        bitmap[(n - base) / 8] |= (uint8_t)(0x80 >> (n - base) % 8);
        end = n - base + 1;
        s->ask_at = now + patience(++s->tries);
    }
    if (end)
        request(c, to, base, bitmap, (end + 7) / 8);
}

/* A new parent is asked for what follows, and for what is missing, ahead of the Refresh. */
void data_new_upstream(const struct endpoint *to) {
    last_sign = now;
    silence_at = 0;
    for (int i = 0; i < CHANNELS; i++) {
        struct channel *c = channels[i];
        if (!c)
            continue;
        request(c, to, (c->begun ? c->highest : c->told) + 1, NULL, 0);
        for (struct slot *s = c->slots; s < c->slots + SLOTS; s++)
            s->ask_at = now;
        ask_for_missing(c);
    }
}

/* What comes */

/* Give a packet to programs; false if it still waits for its key. */
static bool hand_over(struct channel *c, struct slot *s) {
    static uint8_t plain[65536];
    size_t got = 0;
    if (options.security == NONE) {
        deliver(s->bytes + HEADER, s->length - HEADER);
    } else {
        enum verdict verdict = proof_open(s->bytes, s->length, plain, &got);
        if (verdict == WAIT && now < s->until) {
            c->holds = true;
            return false;
        }
        if (verdict == GOOD)
            deliver(plain, got);
        counters.unopened += verdict != GOOD;
    }
    drop(s, DONE);
    return true;
}

/* Hand over what is next in order; what is missing is waited for, but not longer than asked. */
static void in_order(struct channel *c) {
    for (; c->next != c->highest + 1; c->next++) {
        struct slot *s = slot_of(c, c->next);
        bool ready = s->state == DONE || (s->state == PROVEN && hand_over(c, s));
        if (!ready && c->highest - c->next < WINDOW - 64) {
            c->gap_at = c->gap_at ? c->gap_at : now + options.order_delay;
            if (!due(c->gap_at))
                return;
        }
        c->gap_at = ready ? 0 : c->gap_at;
    }
    c->gap_at = 0;
}

/* Whether a packet may be taken. */
static enum verdict judge(struct channel *c, const struct endpoint *from, const uint8_t *bytes,
                          size_t length) {
    if (!c->announced) {
        request_announcement(c, from);
        return WAIT;
    }
    enum verdict verdict = options.security == NONE ? GOOD : proof_packet(c, bytes, length);
    if (verdict == BAD) {
        counters.forged++;
        note("forged: channel %u, number %u", c->number, (unsigned)get(bytes + 12, 4));
        if (get(bytes + 16, 4) & (FLAG_SIGNED | FLAG_MANIFEST))
            member_forged(from);
    }
    return verdict;
}

static void take(struct channel *c, struct slot *s) {
    s->state = PROVEN;
    s->until = now + 2 * SECOND;
    if (!c->begun || (int32_t)(s->number - c->highest) > 0)
        reach(c, s->number, true);
    if (!c->proven || (int32_t)(s->number - c->proven) > 0)
        c->proven = s->number;
    bool late = options.order_delay && (int32_t)(s->number - c->next) < 0;
    bool is_used = options.security != NONE && proof_took(s->bytes, s->length); /* as a Rekey */
    counters.dropped += late && !is_used;
    if (late || is_used)
        drop(s, DONE);
    if (options.order_delay)
        in_order(c);
    else if (!is_used)
        hand_over(c, s);
}

/* Deal with a packet that is in its slot as its proof says; without one it waits, or is asked for
   again when it waited too long. */
static void settle(struct channel *c, struct slot *s, enum verdict verdict) {
    if (verdict == GOOD) {
        take(c, s);
    } else if (verdict == BAD || now >= s->until) {
        drop(s, UNKNOWN);
        if (c->begun && (int32_t)(s->number - c->highest) <= 0)
            miss(c, s->number);
    } else {
        c->holds = true;
    }
}

/* Take a packet from where it may come from; false if nothing is new in it. */
static bool accept(struct channel *c, const struct endpoint *from, const uint8_t *bytes,
                   size_t length) {
    uint32_t number = (uint32_t)get(bytes + 12, 4);
    int32_t ahead = (int32_t)(number - c->highest);
    const struct slot *old = &c->slots[number % SLOTS];
    if ((c->begun && ahead <= -WINDOW) || (old->number == number && old->state >= UNPROVEN)) {
        counters.duplicates++;
        return false;
    }
    enum verdict verdict = judge(c, from, bytes, length);
    bool far = c->begun && verdict == WAIT && ahead > 0 && number - c->proven > AHEAD;
    if (verdict == BAD || far || stored_bytes + length > STORED_BYTES) {
        counters.dropped += verdict != BAD;
        return false;
    }
    struct slot *s = slot_of(c, number);
    if (!(s->bytes = malloc(length)))
        return false;
    memcpy(s->bytes, bytes, length);
    s->length = (uint32_t)length;
    s->from = *from;
    stored_bytes += length;
    counters.repaired += s->state == MISSING && s->tries;
    s->found = s->found ? s->found : now;
    s->until = now + (c->announced ? SECOND / 2 : 2 * SECOND);
    s->state = UNPROVEN;
    if (verdict == WAIT && c->begun && ahead > 0)
        reach(c, number, true); /* the manifest is one of those before it: they are asked for */
    settle(c, s, verdict);
    return verdict == GOOD;
}

/* Try all that waits once more, in order: an announcement, a manifest or a key may have come. */
static void retry(struct channel *c) {
    uint32_t begin = c->highest - WINDOW + 1;
    c->holds = false;
    for (uint32_t n = begin; n != begin + SLOTS; n++) {
        struct slot *s = &c->slots[n % SLOTS];
        if (s->state == PROVEN && !options.order_delay)
            hand_over(c, s);
        if (s->state == UNPROVEN)
            settle(c, s, judge(c, &s->from, s->bytes, s->length));
    }
}

static void on_heartbeat(const struct endpoint *from, const uint8_t *bytes, size_t length) {
    static struct message m;
    bool good = decode(&m, bytes, length) &&
                (options.security != NONE || ((uint16_t)m.reserved && m.source));
    struct channel *c = good ? channel_of(m.source, (uint16_t)m.reserved, true) : NULL;
    if (!c) {
        counters.dropped++;
        return;
    }
    enum verdict verdict = options.security == NONE ? GOOD : proof_heartbeat(&m, bytes, length);
    if (verdict == BAD) {
        counters.forged++;
        member_forged(from);
    } else if (verdict == WAIT) {
        request_announcement(c, from); /* the origin's certificate is missing */
    }
    if (verdict != GOOD)
        return;
    bool first = !c->announced || !c->beats;
    c->heard = now;
    if (!first && (int32_t)(m.sequence - c->beats) <= 0)
        return;
    c->beats = m.sequence;
    c->announced = true;
    if (first) {
        c->told = m.highest;
        note("channel %u of %u", c->number, c->origin);
    }
    uint32_t ahead = m.highest - (c->begun ? c->highest : c->told);
    bool tail = ahead && ahead <= (c->begun ? JUMP : EARLIER);
    if (tail && m.started)
        reach(c, m.highest, false);
    if (!tail && now - last_data > 4 * longest_gap + 20 * MILLI)
        idle = true;
    sign_of_life(false);
}

void data_receive(const struct endpoint *from, const uint8_t *bytes, size_t length, bool sealed) {
    uint64_t option = length >= HEADER ? get(bytes + 2, 2) : ERROR;
    uint32_t flags = length >= HEADER ? (uint32_t)get(bytes + 16, 4) : 0;
    bool secured = options.security != NONE;
    bool needs_seal = option != DATA || (flags & (FLAG_MANIFEST | FLAG_SIGNED));
    if (option > CREDENTIAL || bytes[0] != 1 || get(bytes + 20, 4) != length - HEADER ||
        get(bytes + 4, 4) != session_id || !session_id || !member_takes(bytes[1]) ||
        !member_feeds(from) || (secured && sealed != needs_seal)) {
        counters.dropped++;
        return;
    }
    if (option == HEARTBEAT) {
        on_heartbeat(from, bytes, length);
        return;
    }
    if (option == CREDENTIAL) {
        if (secured)
            proof_credential(bytes, length);
        return;
    }
    uint32_t origin = (uint32_t)get(bytes + 8, 4);
    bool named = secured || (origin && (uint16_t)flags);
    struct channel *c = named ? channel_of(origin, (uint16_t)flags, true) : NULL;
    if (!c) {
        counters.dropped++;
        return;
    }
    c->heard = now;
    if (accept(c, from, bytes, length))
        sign_of_life(true);
}

void data_tick(void) {
    bool sweep = due(sweep_at);
    tick_silence();
    sweep_at = sweep ? now + SECOND / 4 : sweep_at;
    for (struct channel **c = channels; c < channels + CHANNELS; c++) {
        if (!*c)
            continue;
        if ((*c)->holds)
            retry(*c);
        if ((*c)->begun)
            ask_for_missing(*c);
        if ((*c)->begun && options.order_delay)
            in_order(*c);
        if (!sweep || now < (*c)->heard + 15 * SECOND)
            continue;
        for (struct slot *s = (*c)->slots; s < (*c)->slots + SLOTS; s++)
            drop(s, UNKNOWN);
        free(*c);
        *c = NULL;
    }
}
