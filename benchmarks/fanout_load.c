/* Many viewers of one stream, and one publisher: the load of benchmarks/fanout.py. One thread, epoll.

   fanout_load PORT GET_PATH POST_PATH VIEWERS BODIES CODING

   BODIES is a file of lines, each the body of one update, posted in turn with a mark at its end. CODING "identity":
   a viewer has an update when it has read its mark. "gzip": when it has read one more chunk of HTTP (servers that
   write an update as one chunk only); tests prove elsewhere what is in it.

   Prints "ready" when every viewer has its response and, in gzip, its first chunk. Then, for each line "N" of its
   input, makes N updates, the next when the last viewer has had the one before, and prints
   "updates deliveries bytes wall_us p50_us p99_us", latencies from the post to the last viewer. Anything unexpected ends
   it with a sentence. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK 16 /* bytes of a mark: <!--00000042--> and one more */

struct viewer {
    int fd;
    int head;             /* bytes of the blank line after the head that were seen; 4: we are in the body */
    int kept;             /* bytes of `tail` */
    char tail[MARK];      /* the end of what was read: a mark may come in two pieces */
    long chunk;           /* bytes of the chunk that are to come, with its line end; -1: in its size */
    long size;            /* of the chunk, as far as it was read */
    int in_extension;     /* of the size's line: after its digits */
    long chunks;
    long seen;            /* the update that it has seen */
};

static struct viewer *viewers;
static int count, poller, publisher, gzip;
static long bytes;
static char buffer[1 << 18];

static void die(const char *what) {
    fprintf(stderr, "fanout_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int dial(int port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0) die("socket");
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void watch(int fd, int at) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (unsigned)at};
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static int digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Follow the chunks of a body. */
static void chunks(struct viewer *v, const char *data, long size) {
    while (size > 0) {
        if (v->chunk >= 0) {
            long part = size < v->chunk ? size : v->chunk;
            v->chunk -= part, data += part, size -= part;
            if (v->chunk == 0) v->chunk = -1, v->size = 0, v->in_extension = 0, v->chunks++;
            continue;
        }
        char c = *data++;
        size--;
        if (c == '\n') {
            if (v->size == 0) errno = 0, die("a stream ended");
            v->chunk = v->size + 2;
        } else if (!v->in_extension && digit(c) >= 0) {
            v->size = v->size * 16 + digit(c);
        } else {
            v->in_extension = 1;
        }
    }
}

static int contains(struct viewer *v, const char *data, long size, const char *mark) {
    char edge[2 * MARK];
    int found, from_data = size < MARK - 1 ? (int)size : MARK - 1;
    memcpy(edge, v->tail, v->kept);
    memcpy(edge + v->kept, data, from_data);
    found = memmem(edge, v->kept + from_data, mark, MARK - 1) || memmem(data, size, mark, MARK - 1);
    if (size >= MARK - 1) {
        memcpy(v->tail, data + size - (MARK - 1), MARK - 1);
        v->kept = MARK - 1;
    } else {
        int total = v->kept + from_data, keep = total < MARK - 1 ? total : MARK - 1;
        memmove(v->tail, edge + total - keep, keep);
        v->kept = keep;
    }
    return found;
}

/* Read what there is. Returns whether this viewer has now seen `update`, whose mark is `mark`. */
static int take(struct viewer *v, long update, const char *mark) {
    int arrived = 0;
    for (;;) {
        long size = recv(v->fd, buffer, sizeof buffer, 0);
        const char *data = buffer;
        if (size < 0 && errno == EAGAIN) return arrived;
        if (size <= 0) die("a viewer was dropped");
        bytes += size;
        if (v->head < 4) {
            if (v->head == 0 && v->kept == 0 && (size < 12 || memcmp(data + 9, "200", 3))) errno = 0, die("no 200");
            v->kept = 1;
            for (; size > 0 && v->head < 4; data++, size--)
                v->head = *data == (v->head % 2 ? '\n' : '\r') ? v->head + 1 : *data == '\r';
            if (v->head == 4) v->kept = 0, arrived |= !gzip && update == 0;
        }
        if (size == 0) continue;
        if (gzip) {
            long before = v->chunks;
            chunks(v, data, size);
            if (v->chunks > before && v->seen < update) v->seen = update, arrived = 1;
            if (v->chunks > before && update == 0 && before == 0) arrived = 1;
        } else if (update > 0 && v->seen < update && contains(v, data, size, mark)) {
            v->seen = update, arrived = 1;
        }
    }
}

/* Wait until `missing` viewers have seen `update`. */
static void await_all(int missing, long update, const char *mark) {
    static struct epoll_event events[4096];
    while (missing > 0) {
        int n = epoll_wait(poller, events, 4096, 60000);
        if (n == 0) errno = ETIMEDOUT, die("an update did not reach every viewer");
        for (int i = 0; i < n; i++) {
            if (events[i].data.u32 == (unsigned)count)
                while (recv(publisher, buffer, sizeof buffer, 0) > 0) continue;
            else
                missing -= take(&viewers[events[i].data.u32], update, mark);
        }
    }
}

static void send_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) die("send");
        if (sent > 0) data += sent, size -= sent;
    }
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 7) return fprintf(stderr, "fanout_load PORT GET POST VIEWERS BODIES CODING\n"), 2;
    int port = atoi(argv[1]);
    count = atoi(argv[4]);
    gzip = !strcmp(argv[6], "gzip");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    static char *bodies[4096];
    int body_count = 0;
    FILE *file = fopen(argv[5], "r");
    char *line = NULL;
    size_t room = 0;
    if (!file) die(argv[5]);
    for (ssize_t n; body_count < 4096 && (n = getline(&line, &room, file)) > 0;) {
        line[strcspn(line, "\n")] = 0;
        bodies[body_count++] = strdup(line);
    }
    if (!body_count) errno = 0, die("no bodies");

    poller = epoll_create1(0);
    viewers = calloc(count, sizeof *viewers);
    for (int i = 0; i < count; i++) {
        char request[512];
        int n = snprintf(request, sizeof request,
                         "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nAccept-Encoding: %s\r\n\r\n",
                         argv[2], argv[6]);
        viewers[i].fd = dial(port);
        viewers[i].chunk = -1;
        send_all(viewers[i].fd, request, n);
        watch(viewers[i].fd, i);
        if (i % 100 == 99) { /* accept queues are short */
            await_all(i + 1 - (i / 100) * 100, 0, "");
        }
    }
    await_all(count % 100, 0, "");
    publisher = dial(port);
    watch(publisher, count);
    puts("ready");
    fflush(stdout);

    long update = 0;
    while (getline(&line, &room, stdin) > 0) {
        long updates = atol(line), start = update;
        double *took = calloc(updates + 1, sizeof *took), began = now_us();
        bytes = 0;
        while (update < start + updates) {
            char mark[32], head[256];
            const char *body = bodies[update % body_count];
            update++;
            snprintf(mark, sizeof mark, "<!--%08ld-->", update);
            int n = snprintf(head, sizeof head,
                             "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n",
                             argv[3], strlen(body) + strlen(mark));
            double posted = now_us();
            send_all(publisher, head, n);
            send_all(publisher, body, strlen(body));
            send_all(publisher, mark, strlen(mark));
            await_all(count, update, mark);
            took[update - start - 1] = now_us() - posted;
        }
        double wall = now_us() - began;
        qsort(took, updates, sizeof *took, by_size);
        printf("%ld %ld %ld %.0f %.0f %.0f\n", updates, updates * count, bytes, wall, took[updates / 2],
               took[updates * 99 / 100]);
        fflush(stdout);
        free(took);
    }
    return 0;
}
