/* A leaf of a DMMP overlay: joins a session, receives groups, delivers them on this machine. */
#define _DEFAULT_SOURCE
#include "leaf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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
static int network = -1, group_output4 = -1, group_output6 = -1, alarm_pipe[2];

void fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "dmmp-leaf: ");
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    va_end(list);
    exit(2);
}

void note(const char *format, ...)
{
    va_list list;
    if (!options.verbose)
        return;
    va_start(list, format);
    fprintf(stderr, "%.3f ", (double)now / SECOND);
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    va_end(list);
}

void random_bytes(void *to, size_t size)
{
    static FILE *source;
    if (!source && !(source = fopen("/dev/urandom", "rb")))
        fail("/dev/urandom: %s", strerror(errno));
    if (fread(to, 1, size, source) != size)
        fail("/dev/urandom: no random numbers");
}

/* A period, a fifth longer or shorter. */
uint64_t jitter(uint64_t period)
{
    uint32_t lot;
    random_bytes(&lot, sizeof lot);
    return period * 4 / 5 + period * 2 / 5 * (lot >> 16) / 65536;
}

/* Double a pause, from `first` up to `most`; give the time when it is over. */
uint64_t after_pause(uint64_t *pause, uint64_t first, uint64_t most)
{
    *pause = !*pause ? first : 2 * *pause < most ? 2 * *pause : most;
    return now + *pause;
}

/* Whether a time has come; if not, the loop wakes then. 0 is never. */
bool due(uint64_t at)
{
    if (at && at > now && at < wake)
        wake = at;
    return at && at <= now;
}

bool same(const struct endpoint *one, const struct endpoint *other)
{
    return one->port == other->port && memcmp(one->address, other->address, 16) == 0;
}

static uint64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec / 1000;
}

void transmit(const struct endpoint *to, const uint8_t *bytes, size_t length)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(to->port)};
    memcpy(&address.sin6_addr, to->address, 16);
    if (to->port)
        (void)!sendto(network, bytes, length, 0, (struct sockaddr *)&address, sizeof address);
}

/* Split HOST:PORT or [IPV6]:PORT; a lone IPv6 address has no port. */
static bool parse_text(const char *text, char host[256], uint16_t *port)
{
    const char *end = *text == '[' ? strchr(text, ']') : strrchr(text, ':');
    const char *colon = *text == '[' && end ? end + 1 : end;
    if (*text != '[' && end && strchr(text, ':') != end)
        end = colon = NULL;
    if (*text == '[' && (!end || (*colon && *colon != ':')))
        return false;
    text += *text == '[';
    size_t length = end ? (size_t)(end - text) : strlen(text);
    if (!length || length > 255)
        return false;
    memcpy(host, text, length);
    host[length] = 0;
    if (!colon || !*colon)
        return true;
    char *rest;
    long value = strtol(colon + 1, &rest, 10);
    *port = (uint16_t)value;
    return colon[1] && !*rest && value >= 0 && value < 65536;
}

bool parse_endpoint(const char *text, uint16_t port, struct endpoint *endpoint)
{
    char host[256];
    struct addrinfo hints = {.ai_family = AF_INET6, .ai_flags = AI_V4MAPPED}, *found;
    endpoint->port = port;
    if (!parse_text(text, host, &endpoint->port) || getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    memcpy(endpoint->address, &((struct sockaddr_in6 *)(void *)found->ai_addr)->sin6_addr, 16);
    freeaddrinfo(found);
    return true;
}

static bool is_ipv4(const uint8_t *address)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address, prefix, 12) == 0;
}

static int compare_addresses(const void *one, const void *other)
{
    return memcmp(one, other, 16);
}

/* One record for each group: its sources in ascending order, or all once that is wanted. */
static void add_interest(const uint8_t *group, const uint8_t *source)
{
    struct interest *i = options.interests;
    while (i < options.interests + options.interest_count && memcmp(i->group, group, 16) != 0)
        i++;
    if (i == options.interests + options.interest_count) {
        options.interest_count++;
        memcpy(i->group, group, 16);
    }
    if (!source || i->mode == EXCLUDE || i->count == 16) { /* more are widened to all */
        i->mode = EXCLUDE;
        i->count = 0;
    } else if (!bsearch(source, i->sources, i->count, 16, compare_addresses)) {
        memcpy(i->sources[i->count++], source, 16);
        qsort(i->sources, i->count, 16, compare_addresses);
    }
}

/* Take a wish of the command line: [SOURCE@]GROUP[:PORT]. */
static void parse_wish(const char *text)
{
    struct endpoint group, source;
    const char *at = strrchr(text, '@');
    char before[256] = "";
    if (at && (size_t)(at - text) < sizeof before)
        memcpy(before, text, (size_t)(at - text));
    if (!parse_endpoint(at ? at + 1 : text, 0, &group) ||
        (at && !parse_endpoint(before, 0, &source)) ||
        (is_ipv4(group.address) ? group.address[12] >> 4 != 14 : group.address[0] != 0xff))
        fail("%s: no group; expected [SOURCE@]GROUP[:PORT]", text);
    if (options.wish_count == INTERESTS)
        fail("more than %d groups", INTERESTS);
    options.wishes[options.wish_count].port = group.port;
    memcpy(options.wishes[options.wish_count++].group, group.address, 16);
    add_interest(group.address, at ? source.address : NULL);
}

static int open_socket(const struct endpoint *at)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(at->port)};
    int off = 0, room = ROOM, made = socket(AF_INET6, SOCK_DGRAM, 0);
    memcpy(&address.sin6_addr, at->address, 16);
    if (made < 0 || setsockopt(made, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(made, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    fcntl(made, F_SETFL, O_NONBLOCK);
    if (bind(made, (struct sockaddr *)&address, sizeof address) == 0)
        return made;
    close(made);
    return -1;
}

static void listen_at(const char *text)
{
    struct endpoint at = {.port = DEFAULT_PORT};
    if (text && !parse_endpoint(text, 0, &at))
        fail("%s: no address; expected ADDRESS[:PORT]", text);
    network = open_socket(&at);
    if (network < 0 && !text) {
        at.port = 0;
        network = open_socket(&at);
    }
    if (network < 0)
        fail("%s: %s", text ? text : "port", strerror(errno));
}

/* Send to groups as a program on this machine would, through one interface, and not beyond. */
static void open_group_output(const char *name)
{
    int index = (int)if_nametoindex(name), hops = 1, loop = 1;
    unsigned char few = 1;
    struct ip_mreqn through = {.imr_ifindex = index};
    if (!index)
        fail("%s: no such interface", name);
    group_output6 = socket(AF_INET6, SOCK_DGRAM, 0);
    setsockopt(group_output6, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index);
    setsockopt(group_output6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops);
    setsockopt(group_output6, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &loop, sizeof loop);
    group_output4 = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(group_output4, IPPROTO_IP, IP_MULTICAST_IF, &through, sizeof through);
    setsockopt(group_output4, IPPROTO_IP, IP_MULTICAST_TTL, &few, sizeof few);
    setsockopt(group_output4, IPPROTO_IP, IP_MULTICAST_LOOP, &few, sizeof few);
}

/* Give the UDP payload of an IP packet to programs. Fragments and other protocols are dropped. */
void deliver(const uint8_t *packet, size_t length)
{
    struct sockaddr_in to4 = {.sin_family = AF_INET};
    struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
    bool four = length >= 20 && packet[0] >> 4 == 4;
    size_t head = four ? 4u * (packet[0] & 15u) : 40, whole = 0;
    uint8_t group[16] = {[10] = 0xff, [11] = 0xff};
    bool wanted = false;
    if (four && head >= 20 && packet[9] == IPPROTO_UDP && !(get(packet + 6, 2) & 0x3fff)) {
        whole = get(packet + 2, 2);
        memcpy(group + 12, packet + 16, 4);
    } else if (length >= 40 && packet[0] >> 4 == 6 && packet[6] == IPPROTO_UDP) {
        whole = 40 + get(packet + 4, 2);
        memcpy(group, packet + 24, 16);
    }
    if (whole < head + 8 || whole > length || get(packet + head + 4, 2) != whole - head) {
        counters.dropped++;
        return;
    }
    uint16_t port = (uint16_t)get(packet + head + 2, 2);
    for (int i = 0; i < options.wish_count; i++)
        wanted |= memcmp(options.wishes[i].group, group, 16) == 0 &&
                  (!options.wishes[i].port || options.wishes[i].port == port);
    if (!wanted)
        return;
    const uint8_t *payload = packet + head + 8;
    size_t size = whole - head - 8;
    counters.delivered++;
    if (group_output4 < 0) {
        if (fwrite(payload, 1, size, stdout) != size)
            fail("standard output: %s", strerror(errno));
        return;
    }
    to4.sin_port = to6.sin6_port = htons(port);
    memcpy(&to4.sin_addr, group + 12, 4);
    memcpy(&to6.sin6_addr, group, 16);
    ssize_t sent = four ? sendto(group_output4, payload, size, 0, (void *)&to4, sizeof to4)
                        : sendto(group_output6, payload, size, 0, (void *)&to6, sizeof to6);
    if (sent < 0 && !counters.dropped++)
        fprintf(stderr, "dmmp-leaf: group not delivered: %s\n", strerror(errno));
}

static void receive(const struct endpoint *from, const uint8_t *bytes, size_t length)
{
    static struct message message;
#ifdef SECURE
    if (options.security != NONE) {
        if (!secure_receive(from, bytes, length))
            counters.dropped++;
        return;
    }
#endif
    if (length >= HEADER && get(bytes + 2, 2) <= CREDENTIAL)
        data_receive(from, bytes, length, false);
    else if (decode(&message, bytes, length))
        member_receive(from, &message);
    else
        counters.dropped++;
}

static void receive_burst(void)
{
    static uint8_t bytes[65536];
    for (int count = 0; count < BURST; count++) {
        struct sockaddr_in6 address;
        socklen_t size = sizeof address;
        ssize_t got = recvfrom(network, bytes, sizeof bytes, 0, (struct sockaddr *)&address, &size);
        if (got < 0)
            return;
        struct endpoint from = {.port = ntohs(address.sin6_port)};
        memcpy(from.address, &address.sin6_addr, 16);
        receive(&from, bytes, (size_t)got);
    }
}

static void on_signal(int number)
{
    (void)!write(alarm_pipe[1], &(char){(char)number}, 1);
}

static const char *parse_options(int count, char **words, const char **listen)
{
    const char *output = "-", *security = NULL, *delay = "0";
    struct { const char *name, **value; } known[] = {
        {"--session", &options.session}, {"--output", &output}, {"--listen", listen},
        {"--security", &security}, {"--session-file", &options.session_file},
        {"--credential", &options.credential}, {"--secret-file", &options.secret_file},
        {"--ordered", &delay},
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
        } else if (i + 1 == count || (which == most && strcmp(words[i], "--rp") != 0)) {
            fail("%s: %s; see --help", words[i], i + 1 == count ? "no value" : "no such option");
        } else if (which < most) {
            *known[which].value = words[++i];
        } else if (options.rp_count == RPS ||
                   !parse_endpoint(words[++i], DEFAULT_PORT, &options.rps[options.rp_count++])) {
            fail("%s: no address of a rendezvous point", words[i]);
        }
    }
    if (!security)
        security = options.session_file ? "certificates" : options.secret_file ? "psk" : "none";
    options.security = strcmp(security, "certificates") == 0 ? CERTIFICATES
                       : strcmp(security, "psk") == 0        ? SHARED_SECRET
                                                             : NONE;
    if (options.security == NONE && strcmp(security, "none") != 0)
        fail("--security %s: none, certificates or psk", security);
    options.order_delay = strtoul(delay, NULL, 10) * MILLI;
    return output;
}

int main(int count, char **words)
{
    const char *listen = NULL, *output = parse_options(count, words, &listen);
#ifdef SECURE
    if (options.security != NONE)
        secure_start();
#else
    if (options.security != NONE)
        fail("built without security; build with SECURE=1");
#endif
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
        wake = now + 60 * (uint64_t)SECOND;
        member_tick();
        data_tick();
#ifdef SECURE
        if (options.security != NONE)
            secure_tick();
#endif
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
    note("delivered %llu, repaired %llu, lost %llu, duplicates %llu, dropped %llu, forged %llu, "
         "unopened %llu", (unsigned long long)counters.delivered,
         (unsigned long long)counters.repaired, (unsigned long long)counters.lost,
         (unsigned long long)counters.duplicates, (unsigned long long)counters.dropped,
         (unsigned long long)counters.forged, (unsigned long long)counters.unopened);
    return 0;
}
