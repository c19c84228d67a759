// The limit that the receiver is compared with: a minimal recvmmsg loop that only counts.
// Usage: count PORT PACKET_BYTES BUFFER_BYTES -> "packets cpu_s wall_s" when nothing came for 0.5 s.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

enum { BATCH = 64 };

static double seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const size_t bytes = strtoul(argv[2], NULL, 10);
    const int buffer = atoi(argv[3]), fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr*)&address, sizeof address) != 0) return 1;
    struct timeval wait = {0, 500000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    char* data = malloc(BATCH * bytes);
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    for (int i = 0; i < BATCH; ++i) {
        parts[i] = (struct iovec){data + (size_t)i * bytes, bytes};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    puts("ready");
    fflush(stdout);
    unsigned long n_packets = 0;
    double first = 0, last = 0, cpu = 0, cpu_last = 0;
    for (;;) {
        const int n = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        if (n <= 0) {
            if (n_packets) break;
            continue;
        }
        last = seconds(CLOCK_MONOTONIC);
        if (!n_packets) first = last, cpu = seconds(CLOCK_THREAD_CPUTIME_ID);
        n_packets += (unsigned long)n;
        cpu_last = seconds(CLOCK_THREAD_CPUTIME_ID);
    }
    printf("%lu %.9f %.9f\n", n_packets, cpu_last - cpu, last - first);
    return 0;
}
