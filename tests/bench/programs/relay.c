/* The relays that ours is held against: every datagram that comes goes to every child.
 *
 *   relay plain|batched|offload LISTEN:PORT CHILD:PORT...
 *
 * plain: recvfrom, and sendto for each child. batched: recvmmsg, and one sendmmsg for each child.
 * offload: UDP_GRO on receiving, one sendmsg with UDP_SEGMENT for each child. None looks into a
 * datagram. It says "ready", and at SIGTERM writes what it received and sent, as one line of JSON.
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
#include <sys/socket.h>
#include <unistd.h>

#define MOST_CHILDREN 64
#define BATCH 64
#define LARGEST 65536

static volatile sig_atomic_t ended;
static uint64_t received, sent, failed;
static struct sockaddr_in children[MOST_CHILDREN];
static int child_count;

static void on_signal(int number)
{
    (void)number;
    ended = 1;
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

static int opened(const char *listen)
{
    struct sockaddr_in local = endpoint(listen);
    int made = socket(AF_INET, SOCK_DGRAM, 0), received_bytes = 16 << 20, sent_bytes = 4 << 20;

    setsockopt(made, SOL_SOCKET, SO_RCVBUFFORCE, &received_bytes, sizeof received_bytes);
    setsockopt(made, SOL_SOCKET, SO_SNDBUFFORCE, &sent_bytes, sizeof sent_bytes);
    if (made < 0 || bind(made, (struct sockaddr *)&local, sizeof local) < 0) {
        perror(listen);
        exit(1);
    }
    return made;
}

static void count(ssize_t result, uint64_t datagrams)
{
    if (result < 0)
        failed += datagrams;
    else
        sent += datagrams;
}

static void plain(int fd)
{
    static char data[LARGEST];

    while (!ended) {
        ssize_t size = recvfrom(fd, data, sizeof data, 0, NULL, NULL);
        if (size < 0)
            continue;
        received++;
        for (int child = 0; child < child_count; child++)
            count(sendto(fd, data, (size_t)size, 0, (struct sockaddr *)&children[child],
                         sizeof children[child]), 1);
    }
}

static void send_batch(int fd, struct mmsghdr *messages, int datagrams)
{
    for (int at = 0; at < datagrams;) {
        int done = sendmmsg(fd, messages + at, (unsigned)(datagrams - at), 0);
        if (done <= 0) {
            failed++;
            at++;
        } else {
            sent += (uint64_t)done;
            at += done;
        }
    }
}

static void batched(int fd)
{
    static char data[BATCH][LARGEST];
    static struct iovec incoming_parts[BATCH], outgoing_parts[BATCH];
    static struct mmsghdr incoming[BATCH], outgoing[BATCH];

    for (int at = 0; at < BATCH; at++) {
        incoming_parts[at] = (struct iovec){data[at], LARGEST};
        incoming[at].msg_hdr.msg_iov = &incoming_parts[at];
        incoming[at].msg_hdr.msg_iovlen = 1;
        outgoing_parts[at].iov_base = data[at];
        outgoing[at].msg_hdr.msg_iov = &outgoing_parts[at];
        outgoing[at].msg_hdr.msg_iovlen = 1;
        outgoing[at].msg_hdr.msg_namelen = sizeof children[0];
    }
    while (!ended) {
        int datagrams = recvmmsg(fd, incoming, BATCH, MSG_WAITFORONE, NULL);
        if (datagrams <= 0)
            continue;
        received += (uint64_t)datagrams;
        for (int at = 0; at < datagrams; at++)
            outgoing_parts[at].iov_len = incoming[at].msg_len;
        for (int child = 0; child < child_count; child++) {
            for (int at = 0; at < datagrams; at++)
                outgoing[at].msg_hdr.msg_name = &children[child];
            send_batch(fd, outgoing, datagrams);
        }
    }
}

static uint16_t stride_of(struct msghdr *message, ssize_t size)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at; at = CMSG_NXTHDR(message, at))
        if (at->cmsg_level == SOL_UDP && at->cmsg_type == UDP_GRO) {
            int stride;
            memcpy(&stride, CMSG_DATA(at), sizeof stride);
            return (uint16_t)stride;
        }
    return (uint16_t)size;
}

static void offload(int fd)
{
    static char data[LARGEST];
    char control[CMSG_SPACE(sizeof(int))], segment[CMSG_SPACE(sizeof(uint16_t))] = {0};
    int on = 1;

    if (setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) < 0) {
        perror("UDP_GRO");
        exit(1);
    }
    while (!ended) {
        struct iovec part = {data, sizeof data};
        struct msghdr in = {.msg_iov = &part, .msg_iovlen = 1,
                            .msg_control = control, .msg_controllen = sizeof control};
        ssize_t size = recvmsg(fd, &in, 0);
        if (size <= 0)
            continue;
        uint16_t stride = stride_of(&in, size);
        uint64_t datagrams = ((uint64_t)size + stride - 1) / stride;
        struct msghdr out = {.msg_iov = &part, .msg_iovlen = 1,
                             .msg_namelen = sizeof children[0]};
        part.iov_len = (size_t)size;
        received += datagrams;
        if (datagrams > 1) {
            out.msg_control = segment;
            out.msg_controllen = sizeof segment;
            struct cmsghdr *head = CMSG_FIRSTHDR(&out);
            head->cmsg_level = SOL_UDP;
            head->cmsg_type = UDP_SEGMENT;
            head->cmsg_len = CMSG_LEN(sizeof stride);
            memcpy(CMSG_DATA(head), &stride, sizeof stride);
        }
        for (int child = 0; child < child_count; child++) {
            out.msg_name = &children[child];
            count(sendmsg(fd, &out, 0), datagrams);
        }
    }
}

int main(int arguments, char **words)
{
    struct sigaction action = {.sa_handler = on_signal};

    if (arguments < 4 || arguments > MOST_CHILDREN + 3) {
        fprintf(stderr, "usage: relay plain|batched|offload LISTEN:PORT CHILD:PORT...\n");
        return 2;
    }
    sigaction(SIGTERM, &action, NULL);
    int fd = opened(words[2]);
    for (int at = 3; at < arguments; at++)
        children[child_count++] = endpoint(words[at]);
    printf("ready\n");
    fflush(stdout);
    if (strcmp(words[1], "plain") == 0)
        plain(fd);
    else if (strcmp(words[1], "batched") == 0)
        batched(fd);
    else
        offload(fd);
    printf("{\"received\": %llu, \"sent\": %llu, \"failed\": %llu}\n",
           (unsigned long long)received, (unsigned long long)sent, (unsigned long long)failed);
    return 0;
}
