/* The leaf's place in the tree: registration, seeking and keeping a parent, leaving
   (spec-notes/procedures.md). */
#include "leaf.h"

#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 96, CANDIDATES = 32, RELATIVES = 5, DISTRUSTED = 8, TRIES = 5 };
enum { FIRST_WAIT = 250 * MILLI, PASSES = 8, UNORDERED = 100 };

struct request {
    struct endpoint to;
    uint16_t option;
    uint32_t sequence;
    int tries, late, sent;
    bool flat;    /* waits are not doubled */
    bool verdict; /* without an answer the parent is lost */
    uint64_t first, at, wait;
    size_t length;
    uint8_t bytes[4096];
};
struct rendezvous {
    bool subscribed, registered, silent, busy, unknown, refused;
    uint32_t id;
    uint64_t at;
};
struct candidate {
    struct place place;
    uint64_t round_trip; /* 0 = not measured */
    int order;           /* of backups, which need no offer */
    bool asked, answered, offered, refused, prompt;
};
struct relative { struct place place; bool answered, backup; uint64_t round_trip, heard; };

static struct request requests[REQUESTS];
static struct rendezvous rps[RPS];
static struct candidate candidates[CANDIDATES];
static struct relative relatives[RELATIVES];
static struct { uint32_t host; uint64_t until; } distrusted[DISTRUSTED];
static int candidate_count, relative_count, failures;

uint32_t session_id, own_id;
static uint32_t sequence, lost_host;
static uint64_t instance, began, tree_replaced, in_tree_since;
static uint8_t tree, building;
static struct endpoint own_endpoint, previous;
static struct records known; /* super nodes that RPs named */
static struct record successor, named; /* by the parent: for its place; to go to */
static struct place parent;
static bool has_parent, was_fed, is_leaving;
static uint64_t smoothed, variation, refresh_at, previous_until, gone_at;

static enum { SETTLED, RESTING, AT_RP, PROBING, ASKING, CONFIRMING } stage;
static uint64_t stage_at, collect_until, probe_at;
static int probe_round;
static struct candidate *chosen;

static struct message out;

static void seek(void);
static void decide(void);
static void given_up(const struct request *lost);
static void lose_parent(const char *why);

/* Messages and requests */

void member_begin(struct message *message, enum option option)
{
    memset(message, 0, sizeof *message);
    message->option = (uint16_t)option;
    message->tree_version = tree;
    message->session = session_id;
    message->source = own_id;
}

static void say(const struct endpoint *to, const uint8_t *bytes, size_t length)
{
#ifdef SECURE
    if (options.security != NONE) {
        secure_say(to, bytes, length);
        return;
    }
#endif
    transmit(to, bytes, length);
}

void member_send(struct message *message, const struct endpoint *to)
{
    uint8_t bytes[4096];
    size_t length = encode(message, bytes, sizeof bytes);
    if (length)
        say(to, bytes, length);
}

static void answer(const struct message *request, const struct endpoint *to, uint8_t status)
{
    out.sequence = request->sequence;
    out.status = status;
    member_send(&out, to);
}

/* Send a request, and again until it is answered or was sent so many times. */
static struct request *ask(struct message *message, const struct endpoint *to, int tries,
                           uint64_t wait)
{
    struct request *slot = &requests[0];
    for (struct request *r = requests; r < requests + REQUESTS && slot->tries; r++)
        if (!r->tries || r->first < slot->first)
            slot = r;
    message->sequence = sequence++;
    *slot = (struct request){.to = *to, .option = message->option, .tries = tries, .first = now,
                             .sequence = message->sequence, .at = now + wait, .wait = wait,
                             .sent = 1};
    due(slot->at);
    slot->length = encode(message, slot->bytes, sizeof slot->bytes);
    if (!slot->length)
        slot->tries = 0;
    else
        say(to, slot->bytes, slot->length);
    return slot;
}

void member_ask(struct message *message, const struct endpoint *to, int tries, uint64_t wait)
{
    ask(message, to, tries, wait);
}

static void tick_requests(void)
{
    for (struct request *r = requests; r < requests + REQUESTS; r++) {
        if (!r->tries || !due(r->at))
            continue;
        if (r->flat && now > r->at + 50 * MILLI && r->late < 2) {
            r->late++; /* this host was held up: the answer may be unread */
        } else if (--r->tries == 0) {
            struct request lost = *r;
            given_up(&lost);
            continue;
        } else if (!r->flat) {
            r->wait *= 2;
        }
        r->at = now + r->wait;
        due(r->at);
        r->sent++;
        say(&r->to, r->bytes, r->length);
    }
}

static void cancel(uint16_t option)
{
    for (struct request *r = requests; r < requests + REQUESTS; r++)
        if (r->option == option)
            r->tries = 0;
}

/* Find what a response answers; only Join Requests may be answered by others. */
static struct request *answered(const struct endpoint *from, const struct message *m)
{
    bool passed = m->option == JOIN_RESPONSE;
    for (struct request *r = requests; r < requests + REQUESTS; r++)
        if (r->tries && r->sequence == m->sequence && (passed || same(&r->to, from)) &&
            (r->option + 1 == m->option || (r->option == KEY_LEAVE && m->option == KEY_RESPONSE) ||
             (r->option == PROMOTION_REQUEST && m->option == PROMOTION_ACK)))
            return r;
    return NULL;
}

static void describe(struct record *own)
{
    *own = (struct record){own_id, own_endpoint, was_fed ? FED : 0,
                           has_parent ? parent.path.count + 1 : NO_DEPTH, 0, 0,
                           (uint32_t)((now - began) / SECOND), 0};
#ifdef SECURE
    if (options.security != NONE && secure_ordinary())
        own->flags |= ORDINARY;
#endif
}

/* Put the own place into a message: record, root path, super node. */
static void describe_place(struct message *m)
{
    describe(&m->record);
    if (!has_parent)
        return;
    m->super_node = parent.super_node;
    m->path.count = (uint8_t)(parent.path.count + 1);
    m->path.ids[0] = parent.host.host;
    memcpy(m->path.ids + 1, parent.path.ids, parent.path.count * sizeof *parent.path.ids);
}

static bool holds(const struct path *path, uint32_t id)
{
    for (int i = 0; i < path->count; i++)
        if (path->ids[i] == id)
            return true;
    return false;
}

/* Whether there may be a place below a host with the root path in a message. */
static bool is_path_good(const struct message *m)
{
    return !holds(&m->path, own_id) && m->path.count < PATH - 1;
}

static void take_place(const struct message *m)
{
    parent.path = m->path;
    parent.super_node = m->super_node;
}

static bool is_distrusted(uint32_t host, const struct path *path)
{
    for (int i = 0; i < DISTRUSTED; i++)
        if (distrusted[i].until > now &&
            (distrusted[i].host == host || (path && holds(path, distrusted[i].host))))
            return true;
    return false;
}

/* Registration */

static int registered(void)
{
    int count = 0;
    for (int i = 0; i < options.rp_count; i++)
        count += rps[i].registered && !rps[i].silent;
    return count;
}

static void ping_rp(struct rendezvous *rp)
{
    member_begin(&out, PING_RP_REQUEST);
    out.instance = instance;
    describe(&out.record);
    for (int i = 0; i < candidate_count && out.path.count < RECORDS; i++)
        if (candidates[i].refused)
            out.path.ids[out.path.count++] = candidates[i].place.host.host;
    if (lost_host && !holds(&out.path, lost_host) && out.path.count < RECORDS)
        out.path.ids[out.path.count++] = lost_host;
    rp->busy = true;
    member_ask(&out, &options.rps[rp - rps], rp->silent ? 2 : TRIES, FIRST_WAIT);
}

static void tick_registration(void)
{
    bool naming = false;
    for (int i = 0; i < options.rp_count; i++)
        naming |= !own_id && rps[i].busy && rps[i].subscribed;
    for (struct rendezvous *rp = rps; rp < rps + options.rp_count; rp++) {
        if (rp->busy || !due(rp->at))
            continue;
        if (rp->subscribed && naming) { /* one RP gives the id; the others are told it */
            rp->at = now + SECOND / 2;
            due(rp->at);
        } else if (rp->subscribed) {
            naming = !own_id;
            ping_rp(rp);
        } else {
            member_begin(&out, SUBSCRIPTION_REQUEST);
            out.session = out.source = 0;
            out.text = (struct span){(const uint8_t *)options.session, strlen(options.session)};
            rp->busy = true;
            member_ask(&out, &options.rps[rp - rps], TRIES, FIRST_WAIT);
        }
    }
}

static struct rendezvous *rp_at(const struct endpoint *at)
{
    for (int i = 0; i < options.rp_count; i++)
        if (same(&options.rps[i], at))
            return &rps[i];
    return NULL;
}

/* After a refusal the next RP is asked at once; false if all were asked already. */
static bool ask_next_rp(void)
{
    for (struct rendezvous *rp = rps; rp < rps + options.rp_count; rp++)
        if (!rp->subscribed && !rp->unknown && !rp->busy && !rp->refused) {
            rp->at = now + 1;
            return true;
        }
    return false;
}

/* Whether this is another address of an RP that answers at the first. */
static bool is_known_rp(const struct rendezvous *rp)
{
    for (int i = 0; i < options.rp_count; i++)
        if (&rps[i] != rp && rps[i].subscribed && !rps[i].silent && rps[i].id == rp->id)
            return true;
    return false;
}

static void on_subscription(struct rendezvous *rp, const struct message *m)
{
    rp->busy = false;
    rp->unknown = m->status != SUCCESS;
    rp->at = now + 10 * SECOND;
    if (m->status == SUCCESS && (!session_id || session_id == m->session)) {
        session_id = m->session;
        rp->id = m->source;
        rp->subscribed = !is_known_rp(rp);
        rp->at = rp->subscribed ? now + 1 : 0;
    }
    bool nobody = rp->unknown && !ask_next_rp();
    for (int i = 0; i < options.rp_count; i++)
        nobody &= rps[i].unknown;
    if (nobody)
        fail("no rendezvous point serves the session %s", options.session);
}

static void measure(void);

static void on_ping_rp(struct rendezvous *rp, const struct message *m)
{
    rp->busy = rp->silent = false;
    rp->at = now + jitter(30 * SECOND);
    if (m->status != SUCCESS || !m->host) {
        rp->at = now + 10 * SECOND;
        rp->refused = true;
        if (!own_id) {
            rp->subscribed = false;
            ask_next_rp();
        }
        note("a rendezvous point refuses: status %u", m->status);
        return;
    }
    if (m->host != own_id) {
        note("id %u", m->host);
        for (int i = 0; i < options.rp_count; i++)
            if (rps[i].subscribed && &rps[i] != rp)
                rps[i].at = now + 1;
    }
    rp->registered = true;
    own_id = m->host;
    own_endpoint = m->endpoint;
    building = m->phase == 0;
    if (m->hosts.count)
        known = m->hosts;
    if (stage == AT_RP)
        measure();
}

/* Seeking a place */

static struct candidate *candidate_of(uint32_t host)
{
    for (int i = 0; i < candidate_count; i++)
        if (candidates[i].place.host.host == host)
            return &candidates[i];
    return NULL;
}

static void consider(const struct record *host, bool prompt)
{
    if (!host->host || host->host == own_id || !host->endpoint.port ||
        (host->host == lost_host && !failures) || /* first anybody but the one that was lost */
        candidate_of(host->host) || candidate_count == CANDIDATES ||
        is_distrusted(host->host, NULL) || (has_parent && host->host == parent.host.host))
        return;
    candidates[candidate_count++] = (struct candidate){.place = {.host = *host},
                                                       .order = UNORDERED, .prompt = prompt};
}

static void clear_candidates(void)
{
    cancel(JOIN_REQUEST);
    cancel(CLUSTER_REQUEST);
    candidate_count = 0;
    chosen = NULL;
    collect_until = 0;
}

/* Ask the RPs for super nodes; if none answers, take those that are known. */
static void consult(void)
{
    stage = AT_RP;
    stage_at = now + 2 * SECOND;
    for (struct rendezvous *rp = rps; rp < rps + options.rp_count; rp++)
        if (rp->registered && !rp->busy)
            ping_rp(rp);
}

static void rest(void)
{
    uint64_t pause = lost_host ? (failures ? 2000 : 1600) * MILLI : 400 * MILLI << failures;
    if (!lost_host && pause > 10 * SECOND)
        pause = 10 * SECOND;
    failures += failures < 5;
    stage = RESTING;
    stage_at = now + pause;
    note("no place found, next try in %.1f s", (double)pause / SECOND);
}

static void measure(void)
{
    clear_candidates();
    for (int i = 0; i < known.count; i++)
        consider(&known.hosts[i], false);
    stage = PROBING;
    stage_at = now + 400 * MILLI;
    probe_round = 0;
    probe_at = now;
    if (!candidate_count)
        rest();
}

static void probe(const struct endpoint *to, int tries, uint64_t wait, bool verdict)
{
    member_begin(&out, PROBE_REQUEST);
    out.timestamp = now;
    struct request *r = ask(&out, to, tries, wait);
    r->flat = true;
    r->verdict = verdict;
}

/* Whether one candidate is to be asked before another. */
static bool better(const struct candidate *one, const struct candidate *other)
{
    if (one->prompt != other->prompt)
        return one->prompt;
    if (!one->round_trip != !other->round_trip)
        return one->round_trip;
    if (!one->place.host.free_slots != !other->place.host.free_slots)
        return one->place.host.free_slots;
    return one->round_trip < other->round_trip;
}

static struct candidate *next_candidate(void)
{
    struct candidate *best = NULL;
    for (struct candidate *c = candidates; c < candidates + candidate_count; c++)
        if (!c->asked && (!best || better(c, best)))
            best = c;
    return best;
}

/* Ask the next candidates for a place; decide among the offers if there are no more. */
static void ask_more(int count, bool cluster)
{
    bool any = false;
    stage = ASKING;
    for (struct candidate *c; count-- && (c = next_candidate()); any = true) {
        c->asked = true;
        member_begin(&out, cluster && building && !lost_host ? CLUSTER_REQUEST : JOIN_REQUEST);
        describe(&out.record);
        out.passes = PASSES;
        member_ask(&out, &c->place.host.endpoint, 3, FIRST_WAIT);
        note("asks %u for a place", c->place.host.host);
    }
    collect_until = 0;
    stage_at = now + SECOND;
    if (!any)
        rest();
}

static void seek(void)
{
    clear_candidates();
    if (named.host)
        consider(&named, true);
    for (int i = 0; i < relative_count; i++)
        if (relatives[i].backup)
            consider(&relatives[i].place.host, true);
    consider(&successor, false);
    for (int i = 0; i < known.count; i++)
        consider(&known.hosts[i], false);
    for (int i = 0; i < relative_count; i++)
        consider(&relatives[i].place.host, false);
    named.host = 0;
    if (candidate_count)
        ask_more(3, false);
    else
        consult();
}

static void refresh(const struct place *with, uint8_t kind, int tries, uint64_t wait)
{
    member_begin(&out, REFRESH_REQUEST);
    out.kind = kind;
    describe_place(&out);
    if (kind == CHILD) {
        out.interest_count = (uint8_t)options.interest_count;
        memcpy(out.interests, options.interests, sizeof out.interests);
    }
    member_ask(&out, &with->host.endpoint, tries, wait);
}

static void report_leave(const struct endpoint *to, uint8_t reason, int tries)
{
    static const struct record nobody = {.depth = NO_DEPTH,
                                         .endpoint = {.address = {[10] = 0xff, [11] = 0xff}}};
    member_begin(&out, LEAVE_REPORT);
    out.reason = reason;
    out.record = nobody;
    if (tries)
        member_ask(&out, to, tries, FIRST_WAIT);
    else
        member_send(&out, to);
}

/* Take the best offer: the Data Requests go ahead of the Refresh that confirms it. */
static void decide(void)
{
    chosen = NULL;
    for (struct candidate *c = candidates; c < candidates + candidate_count; c++) {
        const struct record *host = &c->place.host, *best = chosen ? &chosen->place.host : NULL;
        if (c->offered &&
            (!best || c->order < chosen->order ||
             (c->order == chosen->order &&
              (host->depth < best->depth ||
               (host->depth == best->depth && host->uptime > best->uptime)))))
            chosen = c;
    }
    if (!chosen) {
        if (next_candidate())
            ask_more(3, false);
        else if (lost_host && stage != RESTING && candidates[0].order != UNORDERED)
            seek();
        else
            rest();
        return;
    }
    uint64_t wait = 3 * chosen->round_trip;
    cancel(JOIN_REQUEST);
    cancel(CLUSTER_REQUEST);
    for (int i = 0; i < candidate_count; i++)
        candidates[i].answered = candidates[i].asked;
    chosen->offered = false;
    stage = CONFIRMING;
    stage_at = 0;
    note("confirms at %u", chosen->place.host.host);
    if (was_fed)
        data_new_upstream(&chosen->place.host.endpoint);
    if (lost_host)
        refresh(&chosen->place, CHILD, 2, wait > 100 * MILLI ? wait : 100 * MILLI);
    else
        refresh(&chosen->place, CHILD, 3, FIRST_WAIT);
}

static void measured(uint64_t round_trip)
{
    uint64_t apart = round_trip > smoothed ? round_trip - smoothed : smoothed - round_trip;
    variation = smoothed ? (3 * variation + apart) / 4 : round_trip / 2;
    smoothed = smoothed ? (7 * smoothed + round_trip) / 8 : round_trip;
}

/* List the relatives that the parent named, each once, and make them known to them. */
static void take_relatives(const struct message *m)
{
    struct relative before[RELATIVES];
    int count = relative_count;
    memcpy(before, relatives, sizeof before);
    relative_count = 0;
    for (int i = 0; i < m->hosts.count + m->others.count && relative_count < RELATIVES; i++) {
        bool backup = i < m->hosts.count;
        const struct record *host = backup ? &m->hosts.hosts[i]
                                           : &m->others.hosts[i - m->hosts.count];
        struct relative *r = &relatives[relative_count];
        bool twice = false;
        for (int j = 0; j < relative_count; j++)
            twice |= relatives[j].place.host.host == host->host;
        if (twice || !host->host || host->host == own_id || host->host == parent.host.host ||
            !host->endpoint.port)
            continue;
        *r = (struct relative){.place = {.host = *host}};
        for (int j = 0; j < count; j++)
            if (before[j].place.host.host == host->host &&
                same(&before[j].place.host.endpoint, &host->endpoint))
                *r = before[j];
        if (!r->heard && !r->answered)
            refresh(&r->place, RELATIVE, 2, FIRST_WAIT);
        r->backup = backup;
        relative_count++;
    }
}

static void settle(const struct message *m, uint64_t round_trip)
{
    struct candidate *taken = chosen;
    for (struct candidate *c = candidates; c < candidates + candidate_count; c++)
        if (c->offered && c != taken && c->order == UNORDERED)
            report_leave(&c->place.host.endpoint, DECLINED, 0);
    if (has_parent && !same(&parent.host.endpoint, &taken->place.host.endpoint)) {
        previous = parent.host.endpoint;
        previous_until = now + 2 * SECOND;
        report_leave(&previous, MOVED, TRIES);
    }
    if (!in_tree_since)
        in_tree_since = now;
    has_parent = was_fed = true;
    parent = taken->place;
    parent.host = m->record;
    parent.host.endpoint = taken->place.host.endpoint;
    take_place(m);
    successor = m->successor;
    smoothed = variation = 0;
    if (round_trip)
        measured(round_trip);
    lost_host = 0;
    failures = 0;
    clear_candidates();
    stage = SETTLED;
    stage_at = 0;
    refresh_at = now + jitter(10 * SECOND);
    take_relatives(m);
    note("joined below %u, depth %d", parent.host.host, parent.path.count + 1);
}

static void lose_parent(const char *why)
{
    if (!has_parent || is_leaving) {
        if (is_leaving)
            gone_at = now;
        return;
    }
    note("lost its parent %u: %s", parent.host.host, why);
    has_parent = false;
    lost_host = parent.host.host;
    previous = parent.host.endpoint;
    previous_until = now + 2 * SECOND;
    report_leave(&previous, MOVED, 2);
    for (int i = 0; i < relative_count; i++) {
        member_begin(&out, STATUS_REPORT);
        out.state = INACTIVE;
        out.record = parent.host;
        member_ask(&out, &relatives[i].place.host.endpoint, 1, FIRST_WAIT);
    }
    if (stage == CONFIRMING)
        return;
    clear_candidates();
    for (int i = 0; i < relative_count; i++) {
        const struct relative *r = &relatives[i];
        if (!r->backup || !r->answered || holds(&r->place.path, own_id))
            continue;
        consider(&r->place.host, true);
        struct candidate *c = candidate_of(r->place.host.host);
        if (!c)
            continue;
        c->place = r->place;
        c->asked = c->offered = true;
        c->round_trip = r->round_trip;
        c->order = i + (holds(&r->place.path, lost_host) ? RELATIVES : 0);
    }
    if (candidate_count)
        decide();
    else
        seek();
}

static void refused(struct candidate *c, const struct message *m, const char *what)
{
    note("%u %s: status %u", c->place.host.host, what, m ? m->status : 99);
    c->refused = true;
    c->offered = false;
    for (int i = 0, few = 0; m && i < m->hosts.count && few < 3; i++)
        if (m->hosts.hosts[i].free_slots || m->option == REFRESH_RESPONSE) {
            consider(&m->hosts.hosts[i], true);
            few++;
        }
}

static void decide_if_all_answered(void)
{
    for (int i = 0; i < candidate_count; i++)
        if (candidates[i].asked && !candidates[i].answered)
            return;
    if (stage == ASKING)
        decide();
}

static void on_offer(const struct endpoint *from, const struct message *m, uint64_t round_trip,
                     bool asked)
{
    if (stage != ASKING)
        return;
    struct candidate *c = candidate_of(m->record.host);
    if (m->status == SUCCESS && !c) {
        consider(&m->record, false);
        c = candidate_of(m->record.host);
    }
    if (!c || (!asked && m->status != SUCCESS))
        return;
    c->asked = c->answered = true;
    if (!c->round_trip)
        c->round_trip = asked ? round_trip : 0;
    if (m->status == SUCCESS && is_path_good(m) &&
        !is_distrusted(m->record.host, &m->path)) {
        c->offered = true;
        c->place = (struct place){m->record, m->path, m->super_node};
        c->place.host.endpoint = *from;
        if (!collect_until)
            collect_until = now + (lost_host ? 30 : 150) * MILLI;
    } else {
        refused(c, m, "has no place");
    }
    decide_if_all_answered();
}

static void tick_search(void)
{
    if (stage == PROBING && probe_round < 3 && due(probe_at)) {
        probe_round++;
        probe_at = now + 30 * MILLI;
        due(probe_at);
        for (int i = 0; i < candidate_count; i++)
            probe(&candidates[i].place.host.endpoint, 1, 400 * MILLI, false);
    }
    if (stage == ASKING && due(collect_until)) {
        collect_until = 0;
        decide();
    }
    if (!due(stage_at))
        return;
    stage_at = 0;
    if (stage == RESTING && !registered() && known.count)
        measure();
    else if (stage == RESTING)
        consult();
    else if (stage == AT_RP)
        measure();
    else if (stage == PROBING)
        ask_more(next_candidate() && next_candidate()->round_trip ? 1 : 3, true);
    else if (stage == ASKING)
        decide();
    due(stage_at);
}

/* What comes, and what does not */

static struct relative *relative_at(const struct endpoint *at)
{
    for (int i = 0; i < relative_count; i++)
        if (same(&relatives[i].place.host.endpoint, at))
            return &relatives[i];
    return NULL;
}

static void forget_relative(struct relative *r)
{
    *r = relatives[--relative_count];
}

static void given_up(const struct request *lost)
{
    struct rendezvous *rp = rp_at(&lost->to);
    struct relative *relative = relative_at(&lost->to);
    bool to_parent = has_parent && same(&lost->to, &parent.host.endpoint);
    if (rp && (lost->option == SUBSCRIPTION_REQUEST || lost->option == PING_RP_REQUEST)) {
        rp->busy = false;
        rp->silent = rp->registered;
        rp->at = now + (rp->registered ? jitter(30 * SECOND) : 1);
        for (int i = 0; i < options.rp_count; i++)
            if (!rps[i].at)
                rps[i].at = now + 1;
        note("a rendezvous point is silent");
    } else if (lost->option == JOIN_REQUEST || lost->option == CLUSTER_REQUEST) {
        for (int i = 0; i < candidate_count; i++)
            if (same(&candidates[i].place.host.endpoint, &lost->to))
                candidates[i].answered = true;
        decide_if_all_answered();
    } else if (lost->option == REFRESH_REQUEST && lost->bytes[HEADER] == CHILD) {
        if (stage == CONFIRMING && same(&lost->to, &chosen->place.host.endpoint)) {
            struct endpoint to = lost->to;
            report_leave(&to, MOVED, 2); /* it may have confirmed */
            refused(chosen, NULL, "does not confirm");
            decide();
        } else if (to_parent) {
            lose_parent("no answer to a refresh");
        }
    } else if (lost->option == REFRESH_REQUEST && relative) {
        forget_relative(relative);
    } else if (lost->verdict && to_parent) {
        lose_parent("silent");
    }
}

static void on_refresh_response(const struct request *r, const struct message *m,
                                uint64_t round_trip)
{
    struct relative *relative = relative_at(&r->to);
    if (r->bytes[HEADER] == RELATIVE && relative) {
        relative->answered = m->status == SUCCESS;
        relative->heard = now;
        if (round_trip)
            relative->round_trip = round_trip;
        relative->place = (struct place){m->record, m->path, m->super_node};
        relative->place.host.endpoint = r->to;
    } else if (stage == CONFIRMING && same(&r->to, &chosen->place.host.endpoint)) {
        if (m->status == SUCCESS && is_path_good(m)) {
            settle(m, round_trip);
        } else {
            refused(chosen, m, "does not confirm");
            decide();
        }
    } else if (has_parent && same(&r->to, &parent.host.endpoint)) {
        if (round_trip)
            measured(round_trip);
        if (m->status != SUCCESS || !is_path_good(m)) {
            lose_parent("it refuses");
            return;
        }
        bool adrift = m->record.depth == NO_DEPTH && (m->record.flags & SUPER_NODE);
        take_place(m);
        successor = m->successor;
        take_relatives(m);
        if (adrift && stage == SETTLED)
            consult();
    }
}

static void on_response(const struct endpoint *from, const struct message *m)
{
    struct request *found = answered(from, m);
    if (!found) {
        /* Offers of hosts that a request was passed down to come after the answer to it. */
        if (m->option == JOIN_RESPONSE && m->status == SUCCESS && stage != ASKING)
            report_leave(from, DECLINED, 0);
        counters.dropped++;
        return;
    }
    struct request r = *found;
    struct rendezvous *rp = rp_at(from);
    uint64_t round_trip = r.sent == 1 ? now - r.first + 1 : 0;
    bool asked = same(&r.to, from);
    if (asked)
        found->tries = 0;
    switch (m->option) {
    case SUBSCRIPTION_RESPONSE: if (rp) on_subscription(rp, m); break;
    case PING_RP_RESPONSE: if (rp) on_ping_rp(rp, m); break;
    case CLUSTER_RESPONSE:
    case JOIN_RESPONSE: on_offer(from, m, round_trip, asked); break;
    case REFRESH_RESPONSE: on_refresh_response(&r, m, round_trip); break;
    case PROBE_RESPONSE:
        if (has_parent && asked && same(from, &parent.host.endpoint) && m->source &&
            m->source != parent.host.host)
            lose_parent("another host answers there");
        for (int i = 0; stage == PROBING && i < candidate_count; i++) {
            struct candidate *c = &candidates[i];
            if (same(&c->place.host.endpoint, from) && round_trip &&
                (!c->round_trip || round_trip < c->round_trip))
                c->round_trip = round_trip;
        }
        break;
#ifdef SECURE
    case SOURCE_RESPONSE: if (m->status == SUCCESS) keys_source(&m->record); break;
    case KEY_RESPONSE: keys_response(m); break;
#endif
    }
}

/* Nobody finds a place below a leaf. */
static uint8_t no_place(uint32_t applicant)
{
    if (!has_parent)
        return NOT_JOINED;
    bool above = applicant == parent.host.host || holds(&parent.path, applicant);
    return applicant == own_id || above ? LOOP : FULL;
}

static void on_refresh(const struct endpoint *from, const struct message *m)
{
    bool is_parent = has_parent && same(from, &parent.host.endpoint);
    if (m->kind == PARENT) {
        if (!is_parent)
            return;
        if (is_path_good(m))
            take_place(m);
        else
            lose_parent("its path leads here");
        return;
    }
    member_begin(&out, REFRESH_RESPONSE);
    describe_place(&out);
    answer(m, from, m->kind == CHILD ? no_place(m->record.host) : UNKNOWN_HOST);
}

static void on_join(const struct endpoint *from, const struct message *m)
{
    const struct endpoint *to = from;
    if (m->source != m->record.host && has_parent && same(from, &parent.host.endpoint))
        to = &m->record.endpoint; /* passed down */
    else if (m->source != m->record.host)
        return;
    member_begin(&out, m->option + 1);
    describe_place(&out);
    answer(m, to, m->option == CLUSTER_REQUEST ? NOT_SUPER_NODE : no_place(m->record.host));
}

static void on_leave(const struct endpoint *from, const struct message *m)
{
    struct relative *relative = relative_at(from);
    bool shutdown = m->reason == SHUTDOWN || m->reason > HANDOVER;
    member_begin(&out, LEAVE_RESPONSE);
    answer(m, from, SUCCESS);
    if (has_parent && same(from, &parent.host.endpoint) && !is_leaving &&
        (shutdown || m->reason == DISMISSED)) {
        note("its parent %u leaves", parent.host.host);
        if (stage == CONFIRMING || stage == ASKING)
            return; /* the search under way is for the same */
        named = m->record;
        failures = 0;
        seek();
    } else if (relative && shutdown) {
        forget_relative(relative);
    }
}

void member_receive(const struct endpoint *from, struct message *m)
{
    bool outside = m->option == SUBSCRIPTION_RESPONSE || m->option == INTRODUCTION_REQUEST;
    if ((m->session != session_id || !session_id) && !outside) {
        counters.dropped++;
        return;
    }
    bool is_parent = has_parent && same(from, &parent.host.endpoint);
    if (is_parent || (stage == CONFIRMING && same(from, &chosen->place.host.endpoint))) {
        uint8_t ahead = (uint8_t)(m->tree_version - tree);
        if (m->tree_version && (!tree || (ahead && ahead < 128))) {
            tree = m->tree_version;
            tree_replaced = now;
        }
    }
    switch (m->option) {
    case PROBE_REQUEST:
        member_begin(&out, PROBE_RESPONSE);
        describe(&out.record);
        out.timestamp = m->timestamp;
        answer(m, from, 0);
        break;
    case REFRESH_REQUEST: on_refresh(from, m); break;
    case LEAVE_REPORT: on_leave(from, m); break;
    case CLUSTER_REQUEST:
    case JOIN_REQUEST: on_join(from, m); break;
    case STATUS_REPORT:
        member_begin(&out, STATUS_RESPONSE);
        answer(m, from, SUCCESS);
        if (m->state == INACTIVE && has_parent && m->record.host == parent.host.host &&
            relative_at(from))
            member_silence();
        break;
    case SETUP_REQUEST: /* a host without out-degree is no super node */
        if (!own_id)
            break;
        member_begin(&out, SETUP_RESPONSE);
        describe(&out.record);
        answer(m, from, m->record.flags & SOURCE ? INCAPABLE : NOT_SUPER_NODE);
        break;
    case PROMOTION_REQUEST:
    case BREAK_REQUEST:
    case JOIN_NOTIFICATION: /* it stays where it is */
        member_begin(&out, m->option == PROMOTION_REQUEST ? PROMOTION_ACK
                           : m->option == BREAK_REQUEST   ? BREAK_RESPONSE
                                                          : PROMOTION_CONFIRM);
        answer(m, from, REFUSED);
        break;
    default: on_response(from, m);
    }
}

/* What the flow asks of the place */

bool member_upstream(const struct endpoint *from)
{
    return (has_parent && same(from, &parent.host.endpoint)) ||
           (stage == CONFIRMING && same(from, &chosen->place.host.endpoint)) ||
           (now < previous_until && same(from, &previous));
}

bool member_relative(const struct endpoint *from)
{
    const struct relative *r = relative_at(from);
    return r && r->answered;
}

/* Whom to ask for packets: upstream or, in turn, a relative that answered. */
const struct endpoint *member_repairer(unsigned turn, bool upstream)
{
    int count = 0;
    if (upstream && stage == CONFIRMING)
        return &chosen->place.host.endpoint;
    if (upstream && has_parent)
        return &parent.host.endpoint;
    for (int i = 0; i < relative_count; i++)
        count += relatives[i].answered;
    if (upstream || !count)
        return NULL;
    for (int i = 0, left = (int)(turn % (unsigned)count);; i++)
        if (relatives[i].answered && !left--)
            return &relatives[i].place.host.endpoint;
}

uint64_t member_round_trip(void)
{
    return smoothed;
}

/* Data of a tree that was replaced is taken for a while (Decision 16). */
bool member_takes(uint8_t version)
{
    uint8_t behind = (uint8_t)(tree - version);
    return !tree || !behind || behind >= 128 || now < tree_replaced + 30 * SECOND ||
           now < in_tree_since + 30 * SECOND;
}

void member_silence(void)
{
    uint64_t wait = smoothed ? smoothed + 4 * variation : 250 * MILLI;
    if (!has_parent)
        return;
    for (int i = 0; i < REQUESTS; i++)
        if (requests[i].tries && requests[i].verdict)
            return;
    note("hears nothing from %u", parent.host.host);
    probe(&parent.host.endpoint, 2, wait > 50 * MILLI ? wait : 50 * MILLI, true);
}

void member_forged(const struct endpoint *from)
{
    static unsigned turn;
    if (!has_parent || !same(from, &parent.host.endpoint))
        return;
    distrusted[turn % DISTRUSTED].host = parent.host.host;
    distrusted[turn++ % DISTRUSTED].until = now + 60 * SECOND;
    lose_parent("it sends forgeries");
}

/* Ask the RPs who the source is; the answer goes to the keys. */
void member_find_source(void)
{
    for (int i = 0; i < options.rp_count; i++) {
        if (!rps[i].registered)
            continue;
        member_begin(&out, SOURCE_REQUEST);
        describe(&out.record);
        member_ask(&out, &options.rps[i], 1, FIRST_WAIT);
    }
}

void member_start(void)
{
    random_bytes(&sequence, sizeof sequence);
    random_bytes(&instance, sizeof instance);
    began = now;
    own_endpoint.address[10] = own_endpoint.address[11] = 0xff;
    for (int i = 0; i < options.rp_count; i++)
        rps[i].at = now + (uint64_t)i * SECOND / 2;
}

void member_tick(void)
{
    tick_requests();
    if (is_leaving)
        return;
    tick_registration();
    if (own_id && !has_parent && stage == SETTLED)
        consult();
    tick_search();
    if (has_parent && due(refresh_at)) {
        refresh_at = now + jitter(10 * SECOND);
        refresh(&parent, CHILD, TRIES, FIRST_WAIT);
        for (struct relative *r = relatives; r < relatives + relative_count; r++)
            if (now > r->heard + 15 * SECOND)
                refresh(&r->place, RELATIVE, 2, FIRST_WAIT);
    }
    if (has_parent)
        due(refresh_at);
}

/* Tell parent and RPs, and be gone when they answered, or in 0.8 s (Leaving, step 4). */
void member_leave(void)
{
    if (is_leaving)
        return;
    is_leaving = true;
    memset(requests, 0, sizeof requests);
    if (stage == CONFIRMING)
        report_leave(&chosen->place.host.endpoint, MOVED, TRIES);
    stage = SETTLED;
#ifdef SECURE
    if (options.security != NONE)
        keys_leave();
#endif
    if (has_parent)
        report_leave(&parent.host.endpoint, SHUTDOWN, TRIES);
    for (int i = 0; i < options.rp_count; i++)
        if (rps[i].registered)
            report_leave(&options.rps[i], SHUTDOWN, TRIES);
    gone_at = now + 800 * MILLI;
}

bool member_gone(void)
{
    if (!is_leaving)
        return false;
    for (int i = 0; i < REQUESTS; i++)
        if (requests[i].tries && !due(gone_at))
            return false;
    return true;
}
