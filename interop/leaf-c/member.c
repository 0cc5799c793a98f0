/* The leaf's place in the tree: registration, seeking and keeping a parent, leaving
   (spec-notes/procedures.md, and minimal-member.md on what is left out). */
#include "leaf.h"

#include <string.h>

enum { REQUESTS = 96, CANDIDATES = 32, TRIES = 5, BATCH = 3, PASSES = 8 };
enum { FIRST_WAIT = 250 * MILLI };

struct candidate { struct record host; bool asked, offered, refused; };

static struct request requests[REQUESTS];
static struct candidate candidates[CANDIDATES]; /* in the order to ask them */
static int candidate_count, failures;

uint32_t session_id, own_id;
static uint32_t sequence, lost_host;
static uint64_t instance, began, tree_replaced, in_tree_since;
static uint8_t tree;
uint8_t own_flags; /* of its record */
static struct endpoint own_endpoint = {.address = NOWHERE}, previous;
static uint64_t previous_until, refresh_at, gone_at;

/* The RP that has this host, and how many were asked for the session, beginning with `first_rp`. */
static int rp = -1, first_rp, rps_asked, rps_unknowing;
static uint64_t locate_at, renew_at;
static bool registered, building;

static struct records known; /* super nodes that the RP named */
static struct message place; /* the parent's last answer: itself, its path, backups, successor */
static struct record named, chosen; /* by a parent that leaves; whose offer is being confirmed */
static bool has_parent, was_fed, is_leaving;
uint64_t round_trip; /* to the parent, smoothed; 0 = not known */

static enum { IDLE, RESTING, AT_RP, ASKING, CONFIRMING } stage;
static uint64_t stage_at;

static answered on_subscription, on_offer, on_confirmation;
static void seek(void);
static void decide(void);

/* Messages and requests */

/* Begin a message; there is one at a time. */
struct message *begin(enum option option) {
    static struct message message;
    message = (struct message){.option = (uint16_t)option, .tree_version = tree,
                               .session = session_id, .source = own_id};
    return &message;
}

static void say(const struct endpoint *to, const uint8_t *bytes, size_t length) {
    if (options.security != NONE)
        secure_say(to, bytes, length);
    else
        transmit(to, bytes, length);
}

void send_message(struct message *message, const struct endpoint *to) {
    uint8_t bytes[4096];
    size_t length = encode(message, bytes, sizeof bytes);
    if (length)
        say(to, bytes, length);
}

/* Send a request, and again until it is answered or was sent so many times. */
void ask(struct message *m, const struct endpoint *to, int tries, uint64_t wait, answered *then) {
    struct request *slot = requests; /* a free one, or else the oldest gives way */
    for (struct request *r = requests; r < requests + REQUESTS && slot->tries; r++)
        if (!r->tries || r->first < slot->first)
            slot = r;
    m->sequence = sequence++;
    *slot = (struct request){.to = *to, .option = m->option, .sequence = m->sequence, .sent = 1,
                             .first = now, .at = now + wait, .wait = wait, .then = then};
    slot->length = encode(m, slot->bytes, sizeof slot->bytes);
    slot->tries = slot->length ? tries : 0;
    if (slot->length)
        say(to, slot->bytes, slot->length);
}

static void tick_requests(void) {
    for (struct request *r = requests; r < requests + REQUESTS; r++) {
        if (!r->tries || !due(r->at))
            continue;
        if (--r->tries == 0) {
            struct request lost = *r; /* what follows may take its slot */
            if (lost.then)
                lost.then(&lost, NULL);
            continue;
        }
        r->wait *= 2;
        r->at = now + r->wait;
        r->sent++;
        say(&r->to, r->bytes, r->length);
    }
}

/* Whether a request is open to whose answer this is done. */
static bool is_open(answered *then) {
    for (struct request *r = requests; r < requests + REQUESTS; r++)
        if (r->tries && r->then == then)
            return true;
    return false;
}

static void cancel(answered *then) {
    for (struct request *r = requests; r < requests + REQUESTS; r++)
        r->tries = r->then == then ? 0 : r->tries;
}

static void report_leave(const struct endpoint *to, uint8_t reason, int tries) {
    struct message *m = begin(LEAVE_REPORT);
    m->reason = reason;
    m->record = (struct record){.depth = NO_DEPTH, .endpoint = {.address = NOWHERE}};
    ask(m, to, tries, FIRST_WAIT, NULL);
}

/* Take an answer; those to Join Requests may come from others, to whom the request was passed. */
static void on_response(const struct endpoint *from, const struct message *m) {
    bool passed = m->option == JOIN_RESPONSE;
    for (struct request *r = requests; r < requests + REQUESTS; r++) {
        bool asked = same(&r->to, from);
        if (!r->tries || r->sequence != m->sequence || (!asked && !passed) ||
            (m->option != r->option + 1 && (r->option != KEY_LEAVE || m->option != KEY_RESPONSE)))
            continue;
        struct request found = *r;
        found.from = *from;
        r->tries = asked ? 0 : r->tries;
        if (found.then)
            found.then(&found, m);
        return;
    }
    counters.dropped++;
}

/* Whether there may be a place below a host with the root path in a message. */
static bool is_path_good(const struct message *m) {
    for (int i = 0; i < m->path.count; i++)
        if (m->path.ids[i] == own_id || secure_distrusts(m->path.ids[i]))
            return false;
    return m->path.count < PATH - 1;
}

static bool is_parent(const struct endpoint *at) {
    return has_parent && same(at, &place.record.endpoint);
}

/* Put the own place into a message: record, root path, super node. */
static void describe(struct message *m) {
    m->record = (struct record){.host = own_id, .endpoint = own_endpoint, .depth = NO_DEPTH,
                                .flags = own_flags | (was_fed ? FED : 0),
                                .uptime = (uint32_t)((now - began) / SECOND)};
    if (!has_parent)
        return;
    m->record.depth = m->path.count = (uint8_t)(place.path.count + 1);
    m->super_node = place.super_node;
    m->path.ids[0] = place.record.host;
    memcpy(m->path.ids + 1, place.path.ids, sizeof m->path.ids - sizeof *m->path.ids);
}

/* Registration, at one RP: the next one follows if it falls silent, or refuses */

static void subscribe(const struct endpoint *at) {
    struct message *m = begin(SUBSCRIPTION_REQUEST);
    m->session = m->source = 0;
    m->text = SPAN(options.session, strlen(options.session));
    ask(m, at, TRIES, FIRST_WAIT, on_subscription);
}

/* Look for an RP from the one behind the last on, after a pause. */
static void locate(uint64_t pause) {
    first_rp = rp + 1;
    rp = -1;
    rps_asked = rps_unknowing = 0;
    registered = false;
    locate_at = now + pause + 1;
    cancel(on_subscription);
}

static void on_ping_rp(const struct request *r, const struct message *m) {
    (void)r;
    if (!m) {
        note("a rendezvous point is silent");
        locate(0);
    } else if (m->status == SUCCESS && m->host) {
        if (m->host != own_id)
            note("id %u", m->host);
        registered = true;
        renew_at = now + jitter(30 * SECOND);
        own_id = m->host;
        own_endpoint = m->endpoint;
        building = m->phase == 0;
        known = m->hosts.count ? m->hosts : known;
        if (stage == AT_RP)
            seek();
    } else {
        note("a rendezvous point refuses: status %u", m->status);
        renew_at = now + 10 * SECOND;
        if (!own_id && rps_asked == options.rp_count)
            locate(10 * SECOND);
        else if (!own_id)
            rp = -1; /* and on with the next one */
    }
}

static void ping_rp(void) {
    struct message *m = begin(PING_RP_REQUEST);
    describe(m);
    m->instance = instance;
    m->path.count = 0; /* here it is those that refused */
    for (int i = 0; i < candidate_count && m->path.count < RECORDS; i++)
        if (candidates[i].refused || candidates[i].host.host == lost_host)
            m->path.ids[m->path.count++] = candidates[i].host.host;
    renew_at = 0;
    ask(m, &options.rps[rp], TRIES, FIRST_WAIT, on_ping_rp);
}

static void on_subscription(const struct request *r, const struct message *m) {
    if (rp >= 0) /* another was faster */
        return;
    if (!m) {
        subscribe(&r->to);
    } else if (m->status == SUCCESS && m->session) {
        session_id = session_id ? session_id : m->session;
        for (int i = 0; i < options.rp_count; i++)
            rp = same(&options.rps[i], &r->to) ? i : rp;
        ping_rp();
    } else if (++rps_unknowing == options.rp_count && session_id) {
        locate(10 * SECOND);
    } else if (rps_unknowing == options.rp_count) {
        fail("no rendezvous point serves the session %s", options.session);
    } else {
        locate_at = now;
    }
}

static void tick_registration(void) {
    if (rp >= 0 && due(renew_at))
        ping_rp();
    if (rp >= 0 || rps_asked == options.rp_count || !due(locate_at))
        return;
    subscribe(&options.rps[(first_rp + rps_asked++) % options.rp_count]);
    locate_at = now + SECOND / 2;
}

/* Seeking a place */

static struct candidate *candidate_of(uint32_t host) {
    struct candidate *c = candidates;
    while (c < candidates + candidate_count && c->host.host != host)
        c++;
    return c < candidates + candidate_count ? c : NULL;
}

/* Put a host among the candidates: first, or last. */
static void consider(const struct record *host, bool first, bool offered) {
    if (!host->host || host->host == own_id || !host->endpoint.port ||
        (host->host == lost_host && !failures) || /* first anybody but the one that was lost */
        candidate_of(host->host) || candidate_count == CANDIDATES ||
        secure_distrusts(host->host) || (has_parent && host->host == place.record.host))
        return;
    int at = first ? 0 : candidate_count;
    memmove(candidates + at + 1, candidates + at, (size_t)(candidate_count++ - at) *
                                                      sizeof *candidates);
    candidates[at] = (struct candidate){.host = *host, .offered = offered};
}

/* Begin a search: at who was named by a parent that leaves, then at its backups, to which an orphan
   goes without an offer, then at all others that are known. Without any the RP is asked. */
static void seek(void) {
    cancel(on_offer);
    candidate_count = 0;
    consider(&named, false, false);
    for (int i = 0; i < place.hosts.count; i++)
        consider(&place.hosts.hosts[i], false, !has_parent);
    consider(&place.successor, false, false);
    for (int i = 0; i < known.count; i++)
        consider(&known.hosts[i], false, false);
    named.host = place.hosts.count = 0;
    decide();
}

static void refuse(struct candidate *c, const struct message *m) {
    int most = BATCH;
    c->refused = true;
    c->offered = false;
    note("%u has no place", c->host.host);
    for (int i = 0; m && i < m->hosts.count && most; i++)
        if (m->hosts.hosts[i].free_slots && most--)
            consider(&m->hosts.hosts[i], true, false);
}

static void on_offer(const struct request *r, const struct message *m) {
    bool offers = m && m->status == SUCCESS && is_path_good(m);
    if (offers)
        consider(&m->record, false, false);
    struct candidate *c = m ? candidate_of(m->record.host) : NULL;
    if (c && offers) {
        *c = (struct candidate){.host = m->record, .asked = true, .offered = true};
        c->host.endpoint = r->from;
    } else if (c && same(&r->to, &r->from)) {
        refuse(c, m);
    }
    if (stage == ASKING && (offers || !is_open(on_offer)))
        decide();
}

/* Ask the RP for super nodes; if it does not answer, take those that are known. */
static void consult(void) {
    stage = AT_RP;
    stage_at = now + 2 * SECOND;
    if (registered && renew_at)
        ping_rp();
}

static void rest(void) {
    uint64_t pause = lost_host ? (failures ? 2000 : 1600) * MILLI : 400 * MILLI << failures;
    cancel(on_offer);
    stage = RESTING;
    stage_at = now + (pause < 10 * SECOND ? pause : 10 * SECOND);
    failures += failures < 5;
    note("no place found");
}

static void refresh(const struct endpoint *with, int tries, uint64_t wait, answered *then) {
    struct message *m = begin(REFRESH_REQUEST);
    describe(m);
    m->kind = CHILD;
    m->interest_count = (uint8_t)options.interest_count;
    memcpy(m->interests, options.interests, sizeof m->interests);
    ask(m, with, tries, wait, then);
}

static void ask_for_place(struct candidate *c, enum option option) {
    struct message *m = begin(option);
    note("asks %u for a place", c->host.host);
    describe(m);
    m->passes = PASSES;
    c->asked = true;
    ask(m, &c->host.endpoint, lost_host ? 2 : 3, FIRST_WAIT, on_offer);
}

/* Confirm an offer, the Data Requests ahead of the Refresh; without one ask the next candidates.
   Only the first batch gets Cluster Requests. */
static void decide(void) {
    struct candidate *end = candidates + candidate_count;
    bool cluster = building && !was_fed;
    int count = 0;
    struct candidate *best = NULL;
    for (struct candidate *c = candidates; c < end; c++) {
        best = c->offered && !best ? c : best;
        cluster &= !c->asked;
    }
    if (best) {
        const struct endpoint *to = &chosen.endpoint;
        uint64_t wait = 3 * round_trip > 100 * MILLI ? 3 * round_trip : 100 * MILLI;
        chosen = best->host;
        best->offered = false;
        note("confirms at %u", chosen.host);
        stage = CONFIRMING;
        stage_at = 0;
        if (was_fed)
            data_new_upstream(to);
        refresh(to, lost_host ? 2 : 3, lost_host ? wait : FIRST_WAIT, on_confirmation);
        return;
    }
    stage = ASKING;
    stage_at = now + SECOND;
    for (struct candidate *c = candidates; c < end && count < BATCH; c++)
        if (!c->asked && ++count)
            ask_for_place(c, cluster ? CLUSTER_REQUEST : JOIN_REQUEST);
    if (!count)
        rest();
}

/* Keeping a parent */

/* Take what the parent's answer says of its place, and of others. */
static void take_answer(const struct request *r, const struct message *m) {
    uint64_t trip = now - r->first + 1;
    place = *m;
    place.record.endpoint = r->to;
    if (r->sent == 1) /* else nobody knows which try was answered */
        round_trip = round_trip ? (7 * round_trip + trip) / 8 : trip;
}

static void lose_parent(const char *why) {
    note("lost its parent %u: %s", place.record.host, why);
    has_parent = false;
    lost_host = place.record.host;
    failures = 0;
    gone_at = now; /* while it leaves nothing more is waited for */
    report_leave(&place.record.endpoint, MOVED, 2);
    if (stage != CONFIRMING && !is_leaving)
        seek();
}

static void on_refreshed(const struct request *r, const struct message *m) {
    if (!is_parent(&r->to))
        return;
    if (!m || m->status != SUCCESS || !is_path_good(m)) {
        lose_parent(m ? "it refuses" : "no answer to a refresh");
        return;
    }
    take_answer(r, m);
    if (m->record.depth == NO_DEPTH && (m->record.flags & SUPER_NODE) && stage == IDLE)
        consult(); /* its way to the source is cut off: there may be a better place */
}

static void on_confirmation(const struct request *r, const struct message *m) {
    if (stage != CONFIRMING || !same(&r->to, &chosen.endpoint))
        return;
    if (!m)
        report_leave(&r->to, MOVED, 2); /* it may have confirmed */
    if (!m || m->status != SUCCESS || !is_path_good(m)) {
        refuse(candidate_of(chosen.host), m);
        decide();
        return;
    }
    for (struct candidate *c = candidates; c < candidates + candidate_count; c++)
        if (c->offered && c->asked && c->host.host != chosen.host)
            report_leave(&c->host.endpoint, DECLINED, 1);
    if (has_parent && !is_parent(&r->to)) {
        previous = place.record.endpoint;
        previous_until = now + 2 * SECOND;
        report_leave(&previous, MOVED, TRIES);
    }
    cancel(on_offer);
    in_tree_since = in_tree_since ? in_tree_since : now;
    has_parent = was_fed = true;
    round_trip = lost_host = 0;
    candidate_count = failures = 0;
    take_answer(r, m);
    stage = IDLE;
    refresh_at = now + 3 * SECOND;
    note("joined below %u, depth %d", place.record.host, place.path.count + 1);
}

static void on_verdict(const struct request *r, const struct message *m) {
    if (is_parent(&r->to) && (!m || (m->source && m->source != place.record.host)))
        lose_parent(m ? "another host answers there" : "silent");
}

/* What others ask */

/* Nobody finds a place below a leaf. */
static uint8_t no_place(uint32_t applicant) {
    bool above = applicant == own_id || applicant == place.record.host;
    for (int i = 0; i < place.path.count; i++)
        above |= place.path.ids[i] == applicant;
    return !has_parent ? NOT_JOINED : above ? LOOP : FULL;
}

/* Answer a request; the message's layout picks of all this what its option carries. */
static void respond(const struct message *request, const struct endpoint *to, enum option option,
                    uint8_t status) {
    struct message *m = begin(option);
    describe(m);
    m->sequence = request->sequence;
    m->timestamp = request->timestamp;
    m->status = status;
    send_message(m, to);
}

static void on_refresh(const struct endpoint *from, const struct message *m) {
    if (m->kind == CHILD)
        respond(m, from, REFRESH_RESPONSE, no_place(m->record.host));
    else if (m->kind != PARENT)
        respond(m, from, REFRESH_RESPONSE, m->kind == RELATIVE ? UNKNOWN_HOST : SUCCESS);
    else if (is_parent(from) && is_path_good(m))
        place.path = m->path;
    else if (is_parent(from))
        lose_parent("its path leads here");
}

static void on_join(const struct endpoint *from, const struct message *m) {
    bool passed = m->source != m->record.host;
    if (!passed || is_parent(from))
        respond(m, passed ? &m->record.endpoint : from, JOIN_RESPONSE, no_place(m->record.host));
}

static void on_leave(const struct endpoint *from, const struct message *m) {
    bool leaves = m->reason == SHUTDOWN || m->reason == DISMISSED || m->reason > HANDOVER;
    respond(m, from, LEAVE_RESPONSE, SUCCESS);
    if (!leaves || !is_parent(from) || is_leaving || stage == CONFIRMING || stage == ASKING)
        return; /* a search under way is for the same */
    note("its parent %u leaves", place.record.host);
    named = m->record;
    failures = 0;
    seek();
}

void member_receive(const struct endpoint *from, const struct message *m) {
    uint8_t ahead = (uint8_t)(m->tree_version - tree);
    if ((!session_id || m->session != session_id) && m->option != SUBSCRIPTION_RESPONSE) {
        counters.dropped++;
        return;
    }
    if (member_feeds(from) && m->tree_version && (!tree || (ahead && ahead < 128))) {
        tree = m->tree_version;
        tree_replaced = now;
    }
    switch (m->option) {
    case REFRESH_REQUEST: on_refresh(from, m); break;
    case JOIN_REQUEST: on_join(from, m); break;
    case LEAVE_REPORT: on_leave(from, m); break;
    case PROBE_REQUEST: respond(m, from, PROBE_RESPONSE, SUCCESS); break;
    case STATUS_REPORT: respond(m, from, STATUS_RESPONSE, SUCCESS); break;
    case SETUP_REQUEST: /* a host without out-degree is no super node */
        if (own_id)
            respond(m, from, SETUP_RESPONSE,
                    m->record.flags & SOURCE ? INCAPABLE : NOT_SUPER_NODE);
        break;
    case PROMOTION_REQUEST: respond(m, from, PROMOTION_ACK, REFUSED); break;
    case BREAK_REQUEST: respond(m, from, BREAK_RESPONSE, REFUSED); break;
    case JOIN_NOTIFICATION: /* it stays where it is */
        if (is_parent(from))
            respond(m, from, PROMOTION_CONFIRM, REFUSED);
        break;
    default: on_response(from, m);
    }
}

/* What the flow asks of the place */

/* Whether data is taken from there. */
bool member_feeds(const struct endpoint *from) {
    return is_parent(from) || (stage == CONFIRMING && same(from, &chosen.endpoint)) ||
           (now < previous_until && same(from, &previous));
}

/* Whom to ask for packets, if anybody. */
const struct endpoint *member_upstream(void) {
    const struct endpoint *above = has_parent ? &place.record.endpoint : NULL;
    return stage == CONFIRMING ? &chosen.endpoint : above;
}

/* Data of a tree that was replaced is taken for a while (Decision 16). */
bool member_takes(uint8_t version) {
    uint8_t behind = (uint8_t)(tree - version);
    return !tree || !behind || behind >= 128 || now < tree_replaced + 30 * SECOND ||
           now < in_tree_since + 30 * SECOND;
}

/* The flow fell silent: does the parent live? */
void member_silence(void) {
    uint64_t wait = round_trip ? 2 * round_trip + 50 * MILLI : 250 * MILLI;
    if (!has_parent || is_open(on_verdict))
        return;
    note("hears nothing from %u", place.record.host);
    struct message *m = begin(PROBE_REQUEST);
    m->timestamp = now;
    ask(m, &place.record.endpoint, 2, wait, on_verdict);
}

/* What came from there, sealed, bears a false signature. */
void member_forged(const struct endpoint *from) {
    if (!is_parent(from))
        return;
    secure_distrust(place.record.host);
    lose_parent("it sends forgeries");
}

/* Ask the RP who the source is. */
void member_find_source(answered *then) {
    struct message *m = begin(SOURCE_REQUEST);
    describe(m);
    if (registered)
        ask(m, &options.rps[rp], 1, FIRST_WAIT, then);
}

void member_start(void) {
    random_bytes(&sequence, sizeof sequence);
    random_bytes(&instance, sizeof instance);
    began = now;
    stage = AT_RP;
    locate(0);
}

void member_tick(void) {
    tick_requests();
    if (is_leaving) {
        due(gone_at);
        return;
    }
    tick_registration();
    if (due(stage_at)) {
        stage_at = 0;
        if (stage == RESTING)
            consult();
        else if (stage == AT_RP)
            seek();
        else if (stage == ASKING)
            decide();
    }
    if (has_parent && due(refresh_at)) {
        refresh_at = now + jitter(10 * SECOND);
        refresh(&place.record.endpoint, TRIES, FIRST_WAIT, on_refreshed);
    }
}

/* Tell parent and RP, and be gone when they answered, or in 0.8 s (Leaving, step 4). */
void member_leave(void) {
    if (is_leaving)
        return;
    is_leaving = true;
    memset(requests, 0, sizeof requests);
    if (options.security != NONE)
        keys_leave();
    if (stage == CONFIRMING)
        report_leave(&chosen.endpoint, MOVED, TRIES);
    if (has_parent)
        report_leave(&place.record.endpoint, SHUTDOWN, TRIES);
    if (registered)
        report_leave(&options.rps[rp], SHUTDOWN, TRIES);
    stage = IDLE;
    gone_at = now + 800 * MILLI;
}

bool member_gone(void) {
    for (int i = 0; i < REQUESTS && now < gone_at; i++)
        if (requests[i].tries)
            return false;
    return is_leaving;
}
