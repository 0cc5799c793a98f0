/* The group's keys: a member's side of LKH (spec-notes/messages.md, Group key). */
#include "secure.h"

#include <string.h>

enum { SECRETS = 4, PARTS = 8, PART_MOST = 1400, RATCHETS = 4096, ROOT = KEYS - 1 };

/* The keys from this member's leaf up to the root, one of each level. */
static struct { bool held; uint32_t version; uint8_t key[32]; } path[KEYS];
static uint32_t leaf, certain, source_id, unknown_guess;
static struct endpoint source;
/* The secrets of epochs; those of former ones hold for a while. */
static struct { uint32_t epoch; uint8_t secret[32]; uint64_t until; bool held; } secrets[SECRETS];
static struct { size_t length; uint8_t bytes[PART_MOST]; } parts[PARTS];
static uint64_t found_at, ask_at, ask_pause, find_at = 1, find_pause, missing_at, missing_pause;

static answered on_keys;

static uint32_t node_of(uint32_t level) {
    return level << 24 | leaf >> 2 * level;
}

static bool turn(uint8_t key[32], uint32_t steps) {
    uint8_t next[32];
    if (steps > RATCHETS)
        return false;
    while (steps--) {
        expand(next, key, "dmmp ratchet", 12);
        memcpy(key, next, 32);
    }
    return true;
}

/* Take a root for that of an epoch, which is certain from now on. */
static void begin_epoch(uint32_t epoch, const uint8_t root[32]) {
    uint8_t info[14] = "dmmp epoch";
    int slot = 0;
    for (int i = 0; i < SECRETS; i++) {
        if (secrets[i].held && secrets[i].epoch == epoch)
            return;
        if (secrets[i].held && !secrets[i].until)
            secrets[i].until = now + 2 * SECOND;
        if (!secrets[i].held || (secrets[slot].held && secrets[i].epoch < secrets[slot].epoch))
            slot = i;
    }
    memmove(path[ROOT].key, root, 32);
    path[ROOT].version = epoch;
    put(info + 10, epoch, 4);
    expand(secrets[slot].secret, root, info, sizeof info);
    secrets[slot].epoch = epoch;
    secrets[slot].held = true;
    secrets[slot].until = missing_at = missing_pause = 0;
    certain = epoch > certain ? epoch : certain;
    note("epoch %u", epoch);
}

static void take_root(uint32_t epoch) {
    uint8_t key[32];
    memcpy(key, path[ROOT].key, 32);
    if (path[ROOT].held && path[ROOT].version <= epoch && turn(key, epoch - path[ROOT].version))
        begin_epoch(epoch, key);
}

static void ask_for_keys(void) {
    struct message *m = begin(KEY_REQUEST);
    m->tree_version = 0;
    m->epoch = certain;
    ask_at = after_pause(&ask_pause, SECOND / 2, 8 * SECOND);
    if (ask_pause == 4 * SECOND) /* four found no answer: the source may be another */
        find_at = now;
    if (source.port)
        ask(m, &source, 1, 8 * SECOND, on_keys);
}

/* An RP said who the source is. */
static void on_source(const struct request *r, const struct message *m) {
    (void)r;
    if (!m || m->status != SUCCESS || !m->record.host)
        return;
    if (m->record.host != source_id) {
        memset(secrets, 0, sizeof secrets);
        memset(parts, 0, sizeof parts);
        memset(path, 0, sizeof path);
        certain = 0;
    }
    source_id = m->record.host;
    source = m->record.endpoint;
    found_at = now;
    find_at = find_pause = ask_pause = 0;
    ask_for_keys();
}

/* Take the key that one renewal of a Rekey has for this leaf, sealed under the key of a level below
   that is held; true if there was one. */
static bool take_renewal(uint32_t level, uint32_t epoch, const uint8_t *at, int wraps) {
    for (; wraps--; at += WRAP) {
        uint32_t below = at[0], version = (uint32_t)get(at + 4, 4);
        uint8_t key[32], wrap[32], nonce[12] = {0}, fresh[32 + TAG];
        if (below >= level || get(at, 4) != node_of(below) || !path[below].held ||
            version < path[below].version)
            continue;
        memcpy(key, path[below].key, 32);
        if (!turn(key, version - path[below].version))
            continue;
        expand(wrap, key, "dmmp wrap", 9);
        put(nonce + 4, node_of(level), 4);
        put(nonce + 8, epoch, 4);
        if (!unseal(fresh, wrap, nonce, SPAN("", 0), SPAN(at + 8, 32 + TAG)))
            continue;
        path[level].held = true;
        path[level].version = epoch;
        memcpy(path[level].key, fresh, 32);
        return true;
    }
    return false;
}

/* Take what one part of a Rekey brings to this leaf; true if that was anything. */
static bool take_part(const uint8_t *bytes, size_t length) {
    static struct message m;
    bool progress = false;
    if (!decode(&m, bytes, length) || m.option != REKEY || m.session != session_id ||
        m.source != source_id || !m.list.length)
        return false;
    const uint8_t *at = m.list.bytes + 1;
    for (int renewals = m.list.bytes[0]; renewals--; at += 5 + WRAP * at[4]) {
        uint32_t level = at[0];
        bool wanted = level < KEYS && get(at, 4) == node_of(level) &&
                      (!path[level].held || path[level].version < m.epoch);
        if (!wanted || !take_renewal(level, m.epoch, at + 5, at[4]))
            continue;
        progress = true;
        if (level == ROOT)
            take_root(m.epoch);
    }
    return progress;
}

/* The parts come in any order, and one may bring the key that opens another. */
static void run_parts(void) {
    for (bool progress = true; progress;) {
        progress = false;
        for (int i = 0; i < PARTS; i++)
            progress |= parts[i].length && take_part(parts[i].bytes, parts[i].length);
    }
}

void keys_rekey(uint32_t origin, const uint8_t *bytes, size_t length) {
    static unsigned next;
    if (origin != source_id || length > PART_MOST)
        return;
    parts[next % PARTS].length = length;
    memcpy(parts[next++ % PARTS].bytes, bytes, length);
    run_parts();
}

static void on_keys(const struct request *r, const struct message *m) {
    (void)r;
    if (!m)
        return;
    ask_at = now + (m->status == FULL ? 30 * SECOND : jitter(30 * SECOND));
    ask_pause = 0;
    if (m->status != SUCCESS || m->source != source_id)
        return;
    if (m->list.length) {
        memset(path, 0, sizeof path);
        leaf = m->leaf;
        certain = unknown_guess = 0;
    }
    for (size_t i = 0; i < m->list.length; i += PATH_KEY) {
        const uint8_t *at = m->list.bytes + i;
        if (at[0] >= KEYS || get(at, 4) != node_of(at[0]))
            continue;
        path[at[0]].held = true;
        path[at[0]].version = (uint32_t)get(at + 4, 4);
        memcpy(path[at[0]].key, at + 8, 32);
    }
    if (m->epoch >= certain)
        take_root(m->epoch);
    run_parts();
}

/* Try the secret of an epoch, of which data bears eight bits; an epoch ahead is tried with the root
   that joins alone would have made, and if that is wrong the source is asked. */
bool keys_open(uint32_t origin, uint8_t bits, bool (*try)(const uint8_t secret[32])) {
    uint32_t oldest = certain;
    if (origin != source_id || !path[ROOT].held) {
        if (origin != source_id && source_id && !find_at)
            find_at = now > found_at + 2 * SECOND ? now : found_at + 2 * SECOND;
        return false;
    }
    for (int i = 0; i < SECRETS; i++)
        if (secrets[i].held && secrets[i].epoch < oldest)
            oldest = secrets[i].epoch;
    uint32_t epoch = oldest + (uint8_t)(bits - (uint8_t)oldest);
    for (int i = 0; i < SECRETS; i++)
        if (secrets[i].held && secrets[i].epoch == epoch)
            return try(secrets[i].secret);
    if (epoch < path[ROOT].version || epoch == unknown_guess)
        return false;
    uint8_t root[32], secret[32], info[14] = "dmmp epoch";
    memcpy(root, path[ROOT].key, 32);
    turn(root, epoch - path[ROOT].version);
    put(info + 10, epoch, 4);
    expand(secret, root, info, sizeof info);
    if (try(secret)) {
        begin_epoch(epoch, root);
        return true;
    }
    unknown_guess = epoch;
    if (!missing_at)
        missing_at = after_pause(&missing_pause, jitter(SECOND), 16 * SECOND);
    return false;
}

void keys_tick(void) {
    if (own_id && due(find_at)) {
        find_at = after_pause(&find_pause, SECOND / 2, 8 * SECOND);
        member_find_source(on_source);
    }
    if (due(ask_at) || due(missing_at)) {
        missing_at = 0;
        ask_for_keys();
    }
    for (int i = 0; i < SECRETS; i++)
        if (due(secrets[i].until))
            memset(&secrets[i], 0, sizeof secrets[i]);
}

/* Told to go: tell the source, and erase every key. */
void keys_leave(void) {
    struct message *m = begin(KEY_LEAVE);
    m->tree_version = 0;
    memset(path, 0, sizeof path);
    memset(secrets, 0, sizeof secrets);
    if (source.port)
        ask(m, &source, 3, SECOND / 2, NULL);
    source.port = 0;
}
