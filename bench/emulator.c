/* Joins network namespaces over a network that is far away: delay, rate, a queue and loss, in user space.
 *
 *   emulator DELAY_MS RATE_MBIT QUEUE_MS LOSS SEED DEVICE NAMESPACE=ADDRESS[,ADDRESS...]...
 *
 * Every namespace gets a TUN device and is one hop from every other. A packet passes its sender's line, then travels
 * for DELAY_MS, then passes its receiver's line. A line carries RATE_MBIT (0: as much as comes) and drops what would
 * wait longer than QUEUE_MS. Each packet is lost with the probability LOSS, once on its way; SEED decides which.
 * Says "ready" when the devices exist, and counts on standard output at SIGTERM. Linux, IPv4. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { MAX_NODES = 64, MAX_ADDRESSES = 8, MAX_PACKET = 65536, BATCH = 64, SLOTS = 1 << 15 };
#define SECOND INT64_C(1000000000)

typedef int64_t moment; /* nanoseconds */

struct packet {
    moment due;
    struct node *to;
    int size;
    uint8_t *bytes;
};

/* What comes first is due first. */
struct queue {
    struct packet *slots;
    uint32_t first, past;
};

struct node {
    int device;
    uint32_t addresses[MAX_ADDRESSES];
    int address_count;
    moment out_free, in_free; /* when its lines have carried all that was given to them */
    struct queue flying;      /* sent by it, due at the receiver's line */
    struct queue arriving;    /* on its own line, due at its device */
    uint64_t sent, delivered, lost, dropped;
};

static struct node nodes[MAX_NODES];
static int node_count;
static moment delay, queue_limit;
static double moment_per_byte, loss;
static uint64_t random_state;
static volatile sig_atomic_t over;

static void on_signal(int number) {
    (void)number;
    over = 1;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static moment now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

/* SplitMix64: public domain, Sebastiano Vigna. Between 0 and 1. */
static double chance(void) {
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((z ^ (z >> 31)) >> 11) / 9007199254740992.0;
}

/* Makes a device inside a namespace; its file descriptor works from here. */
static int open_device(const char *namespace, const char *name) {
    char path[256];
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int home, there, device;
    snprintf(path, sizeof path, "/run/netns/%s", namespace);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if ((home = open("/proc/self/ns/net", O_RDONLY)) < 0 || (there = open(path, O_RDONLY)) < 0) fail(path);
    if (setns(there, CLONE_NEWNET)) fail(path);
    if ((device = open("/dev/net/tun", O_RDWR | O_NONBLOCK)) < 0) fail("/dev/net/tun");
    if (ioctl(device, TUNSETIFF, &request)) fail(name);
    if (setns(home, CLONE_NEWNET)) fail("the own namespace");
    close(home);
    close(there);
    return device;
}

static struct queue new_queue(void) {
    struct queue queue = {.slots = calloc(SLOTS, sizeof *queue.slots)};
    if (!queue.slots) fail("memory");
    return queue;
}

static int push(struct queue *queue, struct packet packet) {
    if (queue->past - queue->first == SLOTS) return 0;
    queue->slots[queue->past++ % SLOTS] = packet;
    return 1;
}

/* The packet that is due first; NULL without any. */
static struct packet *head(struct queue *queue) {
    return queue->first == queue->past ? NULL : &queue->slots[queue->first % SLOTS];
}

static void add_node(char *text, const char *device_name) {
    struct node *node = &nodes[node_count++];
    char *addresses = strchr(text, '='), *rest, *one;
    if (!addresses) {
        fprintf(stderr, "%s: not NAMESPACE=ADDRESS\n", text);
        exit(2);
    }
    *addresses++ = 0;
    node->device = open_device(text, device_name);
    node->flying = new_queue();
    node->arriving = new_queue();
    for (one = strtok_r(addresses, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
        if (node->address_count == MAX_ADDRESSES || !inet_pton(AF_INET, one, &node->addresses[node->address_count++])) {
            fprintf(stderr, "%s: not an address, or one too many\n", one);
            exit(2);
        }
    }
}

static struct node *owner(uint32_t address) {
    for (struct node *node = nodes; node < nodes + node_count; node++)
        for (int i = 0; i < node->address_count; i++)
            if (node->addresses[i] == address) return node;
    return NULL;
}

/* Puts a packet on a line at some moment; returns when the line has carried it, or -1 if it would wait too long. */
static moment carry(moment *line_free, moment at, int size) {
    moment begin = *line_free > at ? *line_free : at;
    if (begin - at > queue_limit) return -1;
    return *line_free = begin + (moment)(size * moment_per_byte);
}

static void drop(struct node *node, struct packet *packet) {
    node->dropped++;
    free(packet->bytes);
}

/* From a sender's device onto its line. */
static void take(struct node *from, const uint8_t *bytes, int size) {
    struct packet packet = {.size = size};
    uint32_t address;
    if (bytes[0] >> 4 != 4) return;
    memcpy(&address, bytes + 16, sizeof address);
    if (!(packet.to = owner(address))) return;
    from->sent++;
    if (chance() < loss) {
        from->lost++;
        return;
    }
    if (!(packet.bytes = malloc(size))) fail("memory");
    memcpy(packet.bytes, bytes, size);
    moment sent = carry(&from->out_free, now(), size);
    packet.due = sent + delay;
    if (sent < 0 || !push(&from->flying, packet)) drop(from, &packet);
}

/* From afar onto the receiver's line. */
static void arrive(struct packet packet) {
    packet.due = carry(&packet.to->in_free, packet.due, packet.size);
    if (packet.due < 0 || !push(&packet.to->arriving, packet)) drop(packet.to, &packet);
}

static void deliver(struct node *node, struct packet *packet) {
    if (write(node->device, packet->bytes, packet->size) == packet->size) node->delivered++;
    free(packet->bytes);
}

/* Moves what is due; returns when something will be again. Flying packets are a merge of one queue per sender. */
static moment move_on(moment at) {
    moment next = at + SECOND;
    struct packet *packet;
    for (;;) {
        struct node *earliest = NULL;
        for (struct node *node = nodes; node < nodes + node_count; node++)
            if ((packet = head(&node->flying)) && (!earliest || packet->due < head(&earliest->flying)->due))
                earliest = node;
        if (!earliest) break;
        packet = head(&earliest->flying);
        if (packet->due > at) {
            next = packet->due < next ? packet->due : next;
            break;
        }
        earliest->flying.first++;
        arrive(*packet);
    }
    for (struct node *node = nodes; node < nodes + node_count; node++) {
        while ((packet = head(&node->arriving)) && packet->due <= at) {
            node->arriving.first++;
            deliver(node, packet);
        }
        if (packet && packet->due < next) next = packet->due;
    }
    return next;
}

static void run(int poll) {
    static uint8_t bytes[MAX_PACKET];
    struct epoll_event events[MAX_NODES];
    while (!over) {
        moment wait = move_on(now()) - now();
        struct timespec limit = {0};
        if (wait > 0) limit = (struct timespec){wait / SECOND, wait % SECOND};
        int count = epoll_pwait2(poll, events, MAX_NODES, &limit, NULL);
        for (int i = 0; i < count; i++) {
            struct node *node = &nodes[events[i].data.u32];
            for (int turn = 0; turn < BATCH; turn++) {
                int size = read(node->device, bytes, sizeof bytes);
                if (size < 20) break;
                take(node, bytes, size);
            }
        }
    }
}

int main(int count, char **words) {
    enum { DELAY = 1, RATE, QUEUE, LOSS, SEED, DEVICE, FIRST_NODE };
    if (count < FIRST_NODE + 2 || count > FIRST_NODE + MAX_NODES) {
        fprintf(stderr, "usage: emulator DELAY_MS RATE_MBIT QUEUE_MS LOSS SEED DEVICE NAMESPACE=ADDRESS[,...]...\n");
        return 2;
    }
    double rate = atof(words[RATE]);
    delay = (moment)(atof(words[DELAY]) * 1e6);
    queue_limit = (moment)(atof(words[QUEUE]) * 1e6);
    moment_per_byte = rate > 0 ? 8000.0 / rate : 0;
    loss = atof(words[LOSS]);
    random_state = strtoull(words[SEED], NULL, 10);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0) fail("epoll");
    for (int i = FIRST_NODE; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)node_count};
        add_node(words[i], words[DEVICE]);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, nodes[event.data.u32].device, &event)) fail("epoll");
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    puts("ready");
    fflush(stdout);
    run(poll);
    for (int i = 0; i < node_count; i++)
        printf("%d sent %lu delivered %lu lost %lu dropped %lu\n", i, (unsigned long)nodes[i].sent,
               (unsigned long)nodes[i].delivered, (unsigned long)nodes[i].lost, (unsigned long)nodes[i].dropped);
    return 0;
}
