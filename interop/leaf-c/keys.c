/* The group's keys: a member's side of LKH (spec-notes/messages.md, Group key). */
#include "secure.h"

#include <stdlib.h>
#include <string.h>

enum { SECRETS = 4, PARTS = 8, PART_MOST = 1400, RATCHETS = 4096 };
#define ROOT 0x07000000u

struct node { uint32_t node, version; uint8_t key[32]; };
static struct node path[KEYS];
static int path_count;
static uint32_t leaf, certain, source_id, unknown_guess;
static bool known;
static struct endpoint source;
static struct { uint32_t epoch; uint8_t secret[32]; uint64_t until; bool held; } secrets[SECRETS];
static struct { size_t length; uint8_t bytes[PART_MOST]; } parts[PARTS];
static uint64_t found_at, ask_at, ask_pause, find_at, find_pause, missing_at, missing_pause;

static struct node *node_of(uint32_t node)
{
    for (int i = 0; i < path_count; i++)
        if (path[i].node == node)
            return &path[i];
    return NULL;
}

static bool is_above(uint32_t node)
{
    uint32_t level = node >> 24;
    return level < KEYS && (node & 0xffffff) == leaf >> 2 * level;
}

static bool turn(uint8_t key[32], uint32_t steps)
{
    uint8_t next[32];
    if (steps > RATCHETS)
        return false;
    while (steps--) {
        expand(next, key, "dmmp ratchet", 12);
        memcpy(key, next, 32);
    }
    return true;
}

static void secret_of(uint8_t to[32], const uint8_t root[32], uint32_t epoch)
{
    uint8_t info[14] = "dmmp epoch";
    put(info + 10, epoch, 4);
    expand(to, root, info, sizeof info);
}

/* The root of an epoch is certain: those before can be read for 2 s more. */
static void begin_epoch(uint32_t epoch, const uint8_t secret[32])
{
    int slot = 0;
    for (int i = 0; i < SECRETS; i++) {
        if (secrets[i].held && secrets[i].epoch == epoch)
            return;
        if (secrets[i].held && !secrets[i].until)
            secrets[i].until = now + 2 * SECOND;
        if (!secrets[i].held || (secrets[slot].held && secrets[i].epoch < secrets[slot].epoch))
            slot = i;
    }
    certain = epoch > certain ? epoch : certain;
    secrets[slot].epoch = epoch;
    secrets[slot].held = true;
    secrets[slot].until = 0;
    memcpy(secrets[slot].secret, secret, 32);
    missing_at = 0;
    missing_pause = 0;
    note("epoch %u", epoch);
}

static void take_root(uint32_t epoch)
{
    struct node *root = node_of(ROOT);
    uint8_t secret[32];
    if (!root || root->version > epoch || !turn(root->key, epoch - root->version))
        return;
    root->version = epoch;
    secret_of(secret, root->key, epoch);
    begin_epoch(epoch, secret);
    data_again();
}

static void ask(void)
{
    static struct message m;
    if (!source.port)
        return;
    member_begin(&m, KEY_REQUEST);
    m.epoch = certain;
    ask_at = after_pause(&ask_pause, SECOND / 2, 8 * SECOND);
    if (ask_pause == 4 * SECOND) /* four found no answer: the source may be another */
        find_at = now;
    member_ask(&m, &source, 1, 8 * SECOND);
}

/* An RP said who the source is. */
void keys_source(const struct record *record)
{
    if (options.security == NONE || !record->host)
        return;
    if (record->host != source_id) {
        memset(secrets, 0, sizeof secrets);
        memset(parts, 0, sizeof parts);
        path_count = 0;
        certain = 0;
        source_id = record->host;
    }
    known = true;
    found_at = now;
    source = record->endpoint;
    find_at = 0;
    find_pause = 0;
    ask_pause = 0;
    ask();
}

static void run_parts(void);

void keys_response(const struct message *m)
{
    ask_at = now + (m->status == FULL ? 30 * SECOND : jitter(30 * SECOND));
    ask_pause = 0;
    if (m->status != SUCCESS || m->source != source_id)
        return;
    if (m->list.length) {
        path_count = 0;
        leaf = m->leaf;
        for (size_t i = 0; i < m->list.length / PATH_KEY; i++) {
            const uint8_t *at = m->list.bytes + PATH_KEY * i;
            struct node *n = &path[path_count++];
            n->node = (uint32_t)get(at, 4);
            n->version = (uint32_t)get(at + 4, 4);
            memcpy(n->key, at + 8, 32);
        }
        certain = 0;
        unknown_guess = 0;
    }
    if (m->epoch >= certain)
        take_root(m->epoch);
    run_parts();
}

/* Take what one part of a Rekey brings to this leaf; true if that was anything. */
static bool take_part(const uint8_t *bytes, size_t length)
{
    static struct message m;
    bool progress = false;
    if (!decode(&m, bytes, length) || m.option != REKEY || m.session != session_id ||
        m.source != source_id || !m.list.length)
        return false;
    const uint8_t *at = m.list.bytes + 1;
    for (int renewals = m.list.bytes[0]; renewals--;) {
        uint32_t node = (uint32_t)get(at, 4);
        int wraps = at[4];
        struct node *held = node_of(node);
        bool wanted = is_above(node) && (!held || held->version < m.epoch) && path_count;
        for (at += 5; wraps--; at += WRAP) {
            uint32_t under = (uint32_t)get(at, 4), version = (uint32_t)get(at + 4, 4);
            struct node *below = node_of(under);
            uint8_t key[32], wrap[32], nonce[12] = {0}, fresh[48];
            if (!wanted || !below || !is_above(under) || under >> 24 >= node >> 24 ||
                version < below->version)
                continue;
            memcpy(key, below->key, 32);
            if (!turn(key, version - below->version))
                continue;
            expand(wrap, key, "dmmp wrap", 9);
            put(nonce + 4, node, 4);
            put(nonce + 8, m.epoch, 4);
            if (!unseal(fresh, wrap, nonce, SPAN("", 0), SPAN(at + 8, 48)))
                continue;
            if (!held && path_count < KEYS)
                held = &path[path_count++];
            if (!held)
                continue;
            held->node = node;
            held->version = m.epoch;
            memcpy(held->key, fresh, 32);
            progress = true;
            wanted = false;
            if (node == ROOT)
                take_root(m.epoch);
        }
    }
    return progress;
}

static void run_parts(void)
{
    bool progress = true;
    while (progress) {
        progress = false;
        for (int i = 0; i < PARTS; i++)
            if (parts[i].length)
                progress |= take_part(parts[i].bytes, parts[i].length);
    }
}

void keys_rekey(uint32_t origin, const uint8_t *bytes, size_t length)
{
    static unsigned next;
    if (origin != source_id || length > PART_MOST)
        return;
    parts[next % PARTS].length = length;
    memcpy(parts[next++ % PARTS].bytes, bytes, length);
    run_parts();
}

static void miss_rekey(void)
{
    uint32_t lot;
    if (missing_at)
        return;
    random_bytes(&lot, sizeof lot);
    missing_at = after_pause(&missing_pause, SECOND / 2 + lot % SECOND, 16 * SECOND);
    due(missing_at);
}

/* Try the secret of an epoch, of which data bears eight bits; an epoch ahead is tried with the root
   that joins alone would have made. */
bool keys_open(uint32_t origin, uint8_t bits, bool (*try)(const uint8_t secret[32]))
{
    struct node *root = node_of(ROOT);
    uint32_t oldest = certain;
    if (origin != source_id || !root) {
        if (origin != source_id && !find_at && known)
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
    if (epoch < root->version || epoch == unknown_guess)
        return false;
    uint8_t key[32], secret[32];
    memcpy(key, root->key, 32);
    turn(key, epoch - root->version);
    secret_of(secret, key, epoch);
    if (!try(secret)) {
        unknown_guess = epoch;
        miss_rekey();
        return false;
    }
    memcpy(root->key, key, 32);
    root->version = epoch;
    begin_epoch(epoch, secret);
    return true;
}

void keys_tick(void)
{
    if (!known && own_id && !find_at)
        find_at = now;
    if (due(find_at)) {
        find_at = after_pause(&find_pause, SECOND / 2, 8 * SECOND);
        due(find_at);
        member_find_source();
    }
    if (due(ask_at))
        ask();
    if (due(missing_at)) {
        missing_at = 0;
        ask();
    }
    due(ask_at);
    for (int i = 0; i < SECRETS; i++)
        if (secrets[i].held && due(secrets[i].until))
            memset(&secrets[i], 0, sizeof secrets[i]);
}

/* Told to go: tell the source, and erase every key. */
void keys_leave(void)
{
    static struct message m;
    memset(path, 0, sizeof path);
    memset(secrets, 0, sizeof secrets);
    path_count = 0;
    member_begin(&m, KEY_LEAVE);
    if (source.port)
        member_ask(&m, &source, 3, SECOND / 2);
    source.port = 0;
}
