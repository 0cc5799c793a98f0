/* The programs around a relay, a TUN or a VPN: one that sends a stream, one that takes it.
 *
 *   traffic send TO:PORT SIZE RATE BURST SECONDS PAUSE [FROM:PORT]
 *   traffic receive AT:PORT GROUP|- OFFLOAD LATENCIES
 *
 * Every datagram has SIZE bytes: the 24 of a DMMP data header, so that any relay takes it, and the
 * instant at which it was due. RATE is in datagrams a second, 0 is as fast as it goes; BURST of
 * them go at once, with UDP_SEGMENT if there are several; 1 is an ordinary program. After PAUSE
 * seconds the sender begins, and it writes what it sent when it has ended. The receiver
 * takes what comes until SIGTERM, without copying it unless LATENCIES, then writes counts, the
 * sequence numbers that are missing or double, and the least, median, 99th and largest latency.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LARGEST 65536
#define HEADER_BYTES 24
#define LEAST_BYTES (HEADER_BYTES + 8)
#define MOST_SEGMENTS 64
#define LARGEST_BURST 65507
#define MOST_LATENCIES (1 << 21)
#define SEEN_NUMBERS (1u << 27)
#define SESSION 5u
#define ORIGIN 77u
#define CHANNEL 3u
#define TREE 10u

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void sleep_until(int64_t at)
{
    struct timespec until = {at / 1000000000LL, at % 1000000000LL};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static struct sockaddr_in endpoint(const char *text)
{
    struct sockaddr_in made = {.sin_family = AF_INET};
    char address[64];
    const char *colon = strrchr(text, ':');

    if (colon == NULL || (size_t)(colon - text) >= sizeof address) {
        fprintf(stderr, "%s: give ADDRESS:PORT\n", text);
        exit(2);
    }
    memcpy(address, text, (size_t)(colon - text));
    address[colon - text] = 0;
    made.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, address, &made.sin_addr) != 1) {
        fprintf(stderr, "%s: not an IPv4 address\n", text);
        exit(2);
    }
    return made;
}

static void put(char *at, uint32_t word)
{
    word = htonl(word);
    memcpy(at, &word, sizeof word);
}

static void fill(char *datagram, size_t size, uint32_t sequence, int64_t at)
{
    put(datagram, 1u << 24 | TREE << 16);
    put(datagram + 4, SESSION);
    put(datagram + 8, ORIGIN);
    put(datagram + 12, sequence);
    put(datagram + 16, CHANNEL);
    put(datagram + 20, (uint32_t)size - HEADER_BYTES);
    memcpy(datagram + HEADER_BYTES, &at, sizeof at);
}

static int sender(const char *to, const char *from, uint16_t stride, int burst)
{
    struct sockaddr_in target = endpoint(to), local;
    int made = socket(AF_INET, SOCK_DGRAM, 0), bytes = 4 << 20, segment = stride, on = 1;
    unsigned char hops = 16;

    setsockopt(made, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(made, IPPROTO_IP, IP_MULTICAST_TTL, &hops, sizeof hops);
    if (burst > 1 && setsockopt(made, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment) < 0) {
        perror("UDP_SEGMENT");
        exit(1);
    }
    if (from != NULL) {
        local = endpoint(from);
        if (bind(made, (struct sockaddr *)&local, sizeof local) < 0) {
            perror(from);
            exit(1);
        }
    }
    if (connect(made, (struct sockaddr *)&target, sizeof target) < 0) {
        perror(to);
        exit(1);
    }
    return made;
}

static int send_stream(int arguments, char **words)
{
    static char data[LARGEST * 2];
    if (arguments < 8)
        return 2;
    size_t size = (size_t)atoi(words[3]);
    double rate = atof(words[4]), seconds = atof(words[6]);
    int burst = atoi(words[5]);
    uint64_t sent = 0, failed = 0;
    uint32_t sequence = 1;

    if (size < LEAST_BYTES || size > LARGEST_BURST || burst < 1 || burst > MOST_SEGMENTS) {
        fprintf(stderr, "SIZE is at least %d, BURST 1 to %d\n", LEAST_BYTES, MOST_SEGMENTS);
        return 2;
    }
    if ((size_t)burst > LARGEST_BURST / size)
        burst = (int)(LARGEST_BURST / size);
    int fd = sender(words[2], arguments > 8 ? words[8] : NULL, (uint16_t)size, burst);
    prctl(PR_SET_TIMERSLACK, 1UL);
    int64_t begun = now_ns() + (int64_t)(atof(words[7]) * 1e9), due = begun, last = begun;
    int64_t end = begun + (int64_t)(seconds * 1e9);
    double interval = rate > 0 ? burst * 1e9 / rate : 0;

    for (uint64_t number = 0; !ended; number++) {
        due = interval > 0 ? begun + (int64_t)((double)number * interval) : now_ns();
        if (due >= end || (last = now_ns()) >= end + 1000000000LL)
            break;
        if (due > last)
            sleep_until(due);
        int64_t stamp = now_ns();
        for (int at = 0; at < burst; at++)
            fill(data + (size_t)at * size, size, sequence++, stamp);
        if (send(fd, data, size * (size_t)burst, 0) < 0)
            failed += (uint64_t)burst;
        else
            sent += (uint64_t)burst;
    }
    printf("{\"sent\": %llu, \"failed\": %llu, \"seconds\": %.6f}\n", (unsigned long long)sent,
           (unsigned long long)failed, (double)(now_ns() - begun) / 1e9);
    return 0;
}

static int receiver(const char *at, const char *group, int offload)
{
    struct sockaddr_in local = endpoint(at);
    int made = socket(AF_INET, SOCK_DGRAM, 0), bytes = 16 << 20, on = 1;

    setsockopt(made, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (offload)
        setsockopt(made, SOL_UDP, UDP_GRO, &on, sizeof on);
    if (bind(made, (struct sockaddr *)&local, sizeof local) < 0) {
        perror(at);
        exit(1);
    }
    if (strcmp(group, "-") != 0) {
        struct ip_mreqn join = {.imr_multiaddr = endpoint(at).sin_addr};
        char *slash = strchr(group, '@');
        if (slash != NULL)
            inet_pton(AF_INET, slash + 1, &join.imr_address);
        if (setsockopt(made, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof join) < 0) {
            perror(group);
            exit(1);
        }
    }
    return made;
}

static int compare(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

struct tally {
    uint64_t datagrams, bytes, distinct, latency_count;
    uint32_t highest;
    int64_t first_ns, last_ns;
    int64_t *latencies;
    unsigned char *seen;
};

static void note(struct tally *tally, const char *datagram, int64_t at)
{
    uint32_t sequence;
    int64_t sent;

    memcpy(&sequence, datagram + 12, sizeof sequence);
    sequence = ntohl(sequence);
    if (sequence < SEEN_NUMBERS && !(tally->seen[sequence >> 3] & 1 << (sequence & 7))) {
        tally->seen[sequence >> 3] |= (unsigned char)(1 << (sequence & 7));
        tally->distinct++;
    }
    if (sequence > tally->highest)
        tally->highest = sequence;
    if (tally->latencies != NULL && tally->latency_count < MOST_LATENCIES) {
        memcpy(&sent, datagram + HEADER_BYTES, sizeof sent);
        tally->latencies[tally->latency_count++] = at - sent;
    }
}

static void tell(struct tally *tally)
{
    static const double shares[] = {0, 0.5, 0.99, 1};
    uint64_t last = tally->latency_count - 1;

    printf("{\"received\": %llu, \"bytes\": %llu, \"distinct\": %llu, \"highest\": %u, "
           "\"seconds\": %.6f, \"latency_us\": [",
           (unsigned long long)tally->datagrams, (unsigned long long)tally->bytes,
           (unsigned long long)tally->distinct, tally->highest,
           (double)(tally->last_ns - tally->first_ns) / 1e9);
    if (tally->latency_count > 0) {
        qsort(tally->latencies, tally->latency_count, sizeof *tally->latencies, compare);
        for (int at = 0; at < 4; at++)
            printf("%s%.3f", at ? ", " : "",
                   (double)tally->latencies[(uint64_t)(shares[at] * (double)last + 0.5)] / 1e3);
    }
    printf("]}\n");
}

static int receive_stream(int arguments, char **words)
{
    static char data[LARGEST];
    struct tally tally = {0};
    if (arguments < 6)
        return 2;
    int offload = atoi(words[4]), fd = receiver(words[2], words[3], offload);

    tally.seen = calloc(SEEN_NUMBERS / 8, 1);
    if (atoi(words[5]))
        tally.latencies = malloc(sizeof *tally.latencies * MOST_LATENCIES);
    printf("ready\n");
    fflush(stdout);
    while (!ended) {
        char control[CMSG_SPACE(sizeof(int))];
        struct iovec part = {data, tally.latencies || !offload ? sizeof data : LEAST_BYTES};
        struct msghdr in = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                            .msg_controllen = offload ? sizeof control : 0};
        ssize_t size = recvmsg(fd, &in, MSG_TRUNC);
        int stride = (int)size;
        if (size < LEAST_BYTES)
            continue;
        struct cmsghdr *head = offload ? CMSG_FIRSTHDR(&in) : NULL;
        if (head != NULL && head->cmsg_type == UDP_GRO)
            memcpy(&stride, CMSG_DATA(head), sizeof stride);
        tally.last_ns = now_ns();
        if (tally.datagrams == 0)
            tally.first_ns = tally.last_ns;
        tally.datagrams += (uint64_t)((size + stride - 1) / stride);
        tally.bytes += (uint64_t)size;
        for (ssize_t at = 0; at + LEAST_BYTES <= (ssize_t)part.iov_len && at < size; at += stride)
            note(&tally, data + at, tally.last_ns);
    }
    tell(&tally);
    return 0;
}

int main(int arguments, char **words)
{
    struct sigaction action = {.sa_handler = on_signal};
    int code = 2;

    sigaction(SIGTERM, &action, NULL);
    if (arguments > 1 && strcmp(words[1], "send") == 0)
        code = send_stream(arguments, words);
    else if (arguments > 1 && strcmp(words[1], "receive") == 0)
        code = receive_stream(arguments, words);
    if (code == 2)
        fprintf(stderr, "usage: traffic send TO:PORT SIZE RATE BURST SECONDS PAUSE [FROM:PORT] | "
                        "receive AT:PORT GROUP|- OFFLOAD LATENCIES\n");
    return code;
}
