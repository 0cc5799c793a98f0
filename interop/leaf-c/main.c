/* A leaf of a DMMP overlay: joins a session, receives groups, delivers them on this machine. */
#define _DEFAULT_SOURCE
#include "leaf.h"

#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DEFAULT_PORT = 47700, BURST = 64, ROOM = 4 << 20 };

static const char help[] =
    "usage: dmmp-leaf [OPTION ...] [SOURCE@]GROUP[:PORT] ...\n"
    "Receive multicast groups from a DMMP overlay; IPv6 addresses in brackets.\n\n"
    "  --rp HOST[:PORT]        a rendezvous point; repeat it for several\n"
    "  --session NAME          the session to take part in\n"
    "  --output -|INTERFACE    payloads to standard output (default), or the groups themselves\n"
    "                          to programs on this machine, through INTERFACE (lo)\n"
    "  --ordered MILLISECONDS  wait so long for missing packets, to deliver in order\n"
    "  --listen ADDRESS[:PORT] where to receive; default: port 47700 if free, else any\n"
    "  --security MODE         none, certificates or psk; default: by the files given\n"
    "  --session-file FILE     the session file; names session and rendezvous points\n"
    "  --credential FILE       this host's certificate and keys\n"
    "  --secret-file FILE      the secret that all hosts share, for psk\n"
    "  --verbose               tell on standard error what happens\n";

struct options options;
struct counters counters;
uint64_t now;
static uint64_t wake;
static int network = -1, output4 = -1, output6 = -1, alarm_pipe[2];

void fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fprintf(stderr, "dmmp-leaf: ");
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    va_end(list);
    exit(2);
}

void note(const char *format, ...) {
    va_list list;
    if (!options.verbose)
        return;
    va_start(list, format);
    fprintf(stderr, "%.3f ", (double)now / SECOND);
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    va_end(list);
}

void random_bytes(void *to, size_t size) {
    if (getentropy(to, size) != 0)
        fail("no random numbers: %s", strerror(errno));
}

/* A period, a fifth longer or shorter. */
uint64_t jitter(uint64_t period) {
    uint32_t lot;
    random_bytes(&lot, sizeof lot);
    return period * 4 / 5 + period * 2 / 5 * (lot >> 16) / 65536;
}

/* Double a pause, from `first` up to `most`; give the time when it is over. */
uint64_t after_pause(uint64_t *pause, uint64_t first, uint64_t most) {
    *pause = !*pause ? first : 2 * *pause < most ? 2 * *pause : most;
    return now + *pause;
}

/* Whether a time has come; if not, the loop wakes then. 0 is never. */
bool due(uint64_t at) {
    if (at && at > now && at < wake)
        wake = at;
    return at && at <= now;
}

bool same(const struct endpoint *one, const struct endpoint *other) {
    return one->port == other->port && memcmp(one->address, other->address, 16) == 0;
}

static uint64_t clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec / 1000;
}

static struct sockaddr_in6 address_of(const struct endpoint *endpoint) {
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(endpoint->port)};
    memcpy(&address.sin6_addr, endpoint->address, 16);
    return address;
}

void transmit(const struct endpoint *to, const uint8_t *bytes, size_t length) {
    struct sockaddr_in6 address = address_of(to);
    if (to->port)
        (void)!sendto(network, bytes, length, 0, (void *)&address, sizeof address);
}

/* Read HOST[:PORT] or [IPV6][:PORT]; an IPv6 address without brackets has no port. */
bool parse_endpoint(const char *text, uint16_t port, struct endpoint *endpoint) {
    const char *bracket = *text == '[' ? strchr(text, ']') : NULL, *colon = strrchr(text, ':');
    if (bracket || (colon && strchr(text, ':') != colon))
        colon = bracket && bracket[1] ? bracket + 1 : NULL;
    const char *start = text + (bracket ? 1 : 0);
    const char *end = bracket ? bracket : colon ? colon : text + strlen(text);
    char host[256] = "", *rest = "";
    long number = colon && colon[1] ? strtol(colon + 1, &rest, 10) : colon ? -1 : port;
    if (end == start || end - start > 255 || (colon && *colon != ':') || *rest || number < 0 ||
        number > 65535)
        return false;
    memcpy(host, start, (size_t)(end - start));
    struct addrinfo hints = {.ai_family = AF_INET6, .ai_flags = AI_V4MAPPED}, *found;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    endpoint->port = (uint16_t)number;
    memcpy(endpoint->address, &((struct sockaddr_in6 *)(void *)found->ai_addr)->sin6_addr, 16);
    freeaddrinfo(found);
    return true;
}

/* One record for each group: its sources in ascending order, or all once that is wanted. */
static void add_interest(const uint8_t *group, const uint8_t *source) {
    struct interest *i = options.interests;
    while (i < options.interests + options.interest_count && memcmp(i->group, group, 16) != 0)
        i++;
    if (i == options.interests + options.interest_count)
        options.interest_count++;
    memcpy(i->group, group, 16);
    if (!source || i->count == 16) /* more are widened to all */
        i->mode = EXCLUDE;
    size_t at = 0;
    while (source && at < i->count && memcmp(i->sources[at], source, 16) < 0)
        at++;
    if (i->mode == EXCLUDE) {
        i->count = 0;
    } else if (at == i->count || memcmp(i->sources[at], source, 16) != 0) {
        memmove(i->sources[at + 1], i->sources[at], 16 * (i->count++ - at));
        memcpy(i->sources[at], source, 16);
    }
}

/* Take a wish of the command line: [SOURCE@]GROUP[:PORT]. */
static void parse_wish(char *text) {
    static const uint8_t ipv4[16] = NOWHERE;
    struct endpoint group, source;
    char *at = strrchr(text, '@');
    const char *name = at ? at + 1 : text;
    if (at)
        *at = 0;
    if (!parse_endpoint(name, 0, &group) || (at && !parse_endpoint(text, 0, &source)) ||
        (memcmp(group.address, ipv4, 12) == 0 ? group.address[12] >> 4 != 14
                                              : group.address[0] != 0xff))
        fail("%s: no group; expected [SOURCE@]GROUP[:PORT]", name);
    if (options.wish_count == INTERESTS)
        fail("more than %d groups", INTERESTS);
    options.wishes[options.wish_count++] = group;
    add_interest(group.address, at ? source.address : NULL);
}

static void listen_at(const char *text) {
    struct endpoint at = {.port = DEFAULT_PORT};
    if (text && !parse_endpoint(text, 0, &at))
        fail("%s: no address; expected ADDRESS[:PORT]", text);
    struct sockaddr_in6 address = address_of(&at);
    int off = 0, room = ROOM;
    network = socket(AF_INET6, SOCK_DGRAM, 0);
    if (network < 0 || setsockopt(network, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(network, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(network, (void *)&address, sizeof address) == 0)
        return;
    address.sin6_port = 0;
    if (text || bind(network, (void *)&address, sizeof address) != 0)
        fail("%s: %s", text ? text : "port", strerror(errno));
}

/* Send to groups as a program on this machine would, through one interface, and not beyond. */
static void open_group_output(const char *name) {
    int index = (int)if_nametoindex(name), one = 1;
    struct ip_mreqn through = {.imr_ifindex = index};
    if (!index)
        fail("%s: no such interface", name);
    output4 = socket(AF_INET, SOCK_DGRAM, 0); /* its TTL is 1 by default, and loops back */
    setsockopt(output4, IPPROTO_IP, IP_MULTICAST_IF, &through, sizeof through);
    output6 = socket(AF_INET6, SOCK_DGRAM, 0);
    setsockopt(output6, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index);
    setsockopt(output6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &one, sizeof one);
}

/* Give a UDP payload to programs, if they want what goes to this group and port. */
static void give(const struct endpoint *group, bool four, const uint8_t *payload, size_t size) {
    bool wanted = false;
    for (int i = 0; i < options.wish_count; i++)
        wanted |= memcmp(options.wishes[i].address, group->address, 16) == 0 &&
                  (!options.wishes[i].port || options.wishes[i].port == group->port);
    if (!wanted)
        return;
    counters.delivered++;
    if (output4 < 0) {
        if (fwrite(payload, 1, size, stdout) != size)
            fail("standard output: %s", strerror(errno));
        return;
    }
    struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(group->port)};
    struct sockaddr_in6 to6 = address_of(group);
    memcpy(&to4.sin_addr, group->address + 12, 4);
    ssize_t sent = four ? sendto(output4, payload, size, 0, (void *)&to4, sizeof to4)
                        : sendto(output6, payload, size, 0, (void *)&to6, sizeof to6);
    if (sent < 0 && !counters.dropped++)
        fprintf(stderr, "dmmp-leaf: group not delivered: %s\n", strerror(errno));
}

/* Give an IP packet's UDP payload to programs. Fragments and other protocols are dropped. */
void deliver(const uint8_t *packet, size_t length) {
    struct endpoint group = {.address = NOWHERE};
    bool four = length >= 20 && packet[0] >> 4 == 4;
    size_t head = four ? 4u * (packet[0] & 15u) : 40, whole = 0;
    if (four && head >= 20 && packet[9] == IPPROTO_UDP && !(get(packet + 6, 2) & 0x3fff)) {
        whole = get(packet + 2, 2);
        memcpy(group.address + 12, packet + 16, 4);
    } else if (length >= 40 && packet[0] >> 4 == 6 && packet[6] == IPPROTO_UDP) {
        whole = 40 + get(packet + 4, 2);
        memcpy(group.address, packet + 24, 16);
    }
    if (whole < head + 8 || whole > length || get(packet + head + 4, 2) != whole - head) {
        counters.dropped++;
        return;
    }
    group.port = (uint16_t)get(packet + head + 2, 2);
    give(&group, four, packet + head + 8, whole - head - 8);
}

static void receive(const struct endpoint *from, const uint8_t *bytes, size_t length) {
    static struct message message;
    if (options.security != NONE)
        counters.dropped += !secure_receive(from, bytes, length);
    else if (length >= HEADER && get(bytes + 2, 2) <= CREDENTIAL)
        data_receive(from, bytes, length, false);
    else if (decode(&message, bytes, length))
        member_receive(from, &message);
    else
        counters.dropped++;
}

static void receive_burst(void) {
    static uint8_t bytes[65536];
    for (int count = 0; count < BURST; count++) {
        struct sockaddr_in6 address;
        socklen_t size = sizeof address;
        ssize_t got = recvfrom(network, bytes, sizeof bytes, MSG_DONTWAIT, (void *)&address, &size);
        if (got < 0)
            return;
        struct endpoint from = {.port = ntohs(address.sin6_port)};
        memcpy(from.address, &address.sin6_addr, 16);
        receive(&from, bytes, (size_t)got);
    }
}

static void on_signal(int number) {
    (void)!write(alarm_pipe[1], &(char){(char)number}, 1);
}

/* Read the command line; give what --output says. */
static const char *parse_options(int count, char **words, const char **listen) {
    static const char *const modes[] = {"none", "certificates", "psk"};
    const char *output = "-", *security = NULL, *delay = "0", *rp = NULL;
    struct { const char *name, **value; } known[] = {
        {"--session", &options.session}, {"--output", &output}, {"--listen", listen},
        {"--security", &security}, {"--session-file", &options.session_file},
        {"--credential", &options.credential}, {"--secret-file", &options.secret_file},
        {"--ordered", &delay}, {"--rp", &rp},
    };
    for (int i = 1; i < count; i++) {
        size_t which = 0, most = sizeof known / sizeof *known;
        while (which < most && strcmp(words[i], known[which].name) != 0)
            which++;
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0) {
            fputs(help, stdout);
            exit(0);
        } else if (strcmp(words[i], "--verbose") == 0) {
            options.verbose = true;
        } else if (words[i][0] != '-') {
            parse_wish(words[i]);
        } else if (which == most || i + 1 == count) {
            fail("%s: %s; see --help", words[i], which == most ? "no such option" : "no value");
        } else {
            *known[which].value = words[++i];
            if (rp && (options.rp_count == RPS ||
                       !parse_endpoint(rp, DEFAULT_PORT, &options.rps[options.rp_count++])))
                fail("%s: no address of a rendezvous point", rp);
            rp = NULL;
        }
    }
    if (!security)
        security = modes[options.session_file ? 1 : options.secret_file ? 2 : 0];
    while (options.security < 3 && strcmp(security, modes[options.security]) != 0)
        options.security++;
    if (options.security == 3)
        fail("--security %s: none, certificates or psk", security);
    options.order_delay = strtoul(delay, NULL, 10) * MILLI;
    return output;
}

int main(int count, char **words) {
    const char *listen = NULL, *output = parse_options(count, words, &listen);
    if (options.security != NONE)
        secure_start();
    if (!options.session || !options.rp_count || !options.interest_count)
        fail("%s is missing; see --help", !options.session    ? "--session"
                                          : !options.rp_count ? "--rp"
                                                              : "a group");
    if (pipe(alarm_pipe) != 0)
        fail("pipe: %s", strerror(errno));
    listen_at(listen);
    if (strcmp(output, "-") != 0)
        open_group_output(output);
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGPIPE, SIG_IGN);
    now = clock_now();
    member_start();
    struct pollfd ready[2] = {{network, POLLIN, 0}, {alarm_pipe[0], POLLIN, 0}};
    while (!member_gone()) {
        for (int pass = 0; pass < 2; pass++) { /* what is due; then when something is */
            wake = now + 60 * (uint64_t)SECOND;
            member_tick();
            data_tick();
            if (options.security != NONE)
                secure_tick();
        }
        fflush(stdout);
        uint64_t before = clock_now();
        int wait = wake > before ? (int)((wake - before + MILLI - 1) / MILLI) : 0;
        if (poll(ready, 2, wait) > 0 && ready[1].revents) {
            (void)!read(alarm_pipe[0], &(char){0}, 1);
            member_leave();
        }
        now = clock_now();
        receive_burst();
    }
    note("delivered %lu, repaired %lu, lost %lu, duplicates %lu, dropped %lu, forged %lu, "
         "unopened %lu", counters.delivered, counters.repaired, counters.lost,
         counters.duplicates, counters.dropped, counters.forged, counters.unopened);
    return 0;
}
