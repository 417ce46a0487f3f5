/* What a UDP socket alone costs: datagrams of one size to another process over loopback, a system call for each at both
 * ends, as QUIC sends them where it paces. Nothing is encrypted and nothing is repeated.
 *
 *   plain_udp BYTES DATAGRAM_BYTES
 *
 * Every 64 datagrams the receiver says so and the sender waits for it once 128 are under way, so that nothing gets
 * lost. Prints seconds, and CPU seconds of both ends together.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUND = 64, UNDER_WAY = 2 * ROUND, MOST = 65507, LIMIT_S = 5 };

static void check(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static int open_socket(struct sockaddr_in *address)
{
    int sock = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;
    struct timeval limit = {LIMIT_S, 0};
    socklen_t size = sizeof *address;
    check(sock >= 0, "socket");
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    check(bind(sock, (struct sockaddr *)address, sizeof *address) == 0, "bind");
    check(getsockname(sock, (struct sockaddr *)address, &size) == 0, "getsockname");
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    check(setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0, "setsockopt");
    return sock;
}

static double cpu_s(int who)
{
    struct rusage usage;
    getrusage(who, &usage);
    return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int count, char **words)
{
    static char datagram[MOST];
    struct sockaddr_in near, far;
    struct timespec from, to;
    long size = count == 3 ? atol(words[2]) : 0;
    if (size < 1 || size > MOST || atol(words[1]) < size) {
        fprintf(stderr, "plain_udp BYTES DATAGRAM_BYTES\n");
        return 2;
    }
    long rounds = atol(words[1]) / size / ROUND + 1;
    int sender = open_socket(&near), receiver = open_socket(&far);
    check(connect(sender, (struct sockaddr *)&far, sizeof far) == 0, "connect");
    check(connect(receiver, (struct sockaddr *)&near, sizeof near) == 0, "connect");
    clock_gettime(CLOCK_MONOTONIC, &from);
    pid_t child = fork();
    check(child >= 0, "fork");
    if (child == 0) {
        for (long left = rounds * ROUND; left > 0; left--) {
            check(recv(receiver, datagram, sizeof datagram, 0) == size, "recv");
            if (left % ROUND == 1)
                check(send(receiver, "", 1, 0) == 1, "send");
        }
        return 0;
    }
    long said = 0;
    for (long sent = 0; sent < rounds * ROUND; sent++) {
        while (sent - said * ROUND >= UNDER_WAY) {
            check(recv(sender, datagram, 1, 0) == 1, "recv");
            said++;
        }
        check(send(sender, datagram, size, 0) == size, "send");
    }
    int status;
    check(waitpid(child, &status, 0) == child, "waitpid");
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (status)
        return 1;
    printf("%f %f\n", to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9,
           cpu_s(RUSAGE_SELF) + cpu_s(RUSAGE_CHILDREN));
    return 0;
}
