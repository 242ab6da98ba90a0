/*
 * The upstream of the benchmarks: one thread, one epoll, ready-made answers to MCP tool calls.
 *
 * It is fast enough that what stands in front of it is what gets measured. It knows just enough
 * HTTP/1.1 for that: keep-alive, pipelining, requests with Content-Length that fit one buffer, and
 * a Date that moves on. Every answer carries the JSON-RPC id 1, so every request must.
 *
 *   upstream PORT      listens on 127.0.0.1
 *
 *   POST /json         a result of 304 bytes
 *   POST /sse          the same as an event stream of one event, in one write
 *   POST /sse3         the same in three writes (head, event, last chunk), as uvicorn sends it
 *   POST /big64k       a result of 64 KiB
 *   POST /big1m        a result of 1 MiB
 *   POST /ticks?events=N&rate=R
 *                      N progress notifications, R a second, each with the CLOCK_MONOTONIC
 *                      nanoseconds of its sending as its message; then the result
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 4096, MAX_EVENTS = 256, MAX_REQUEST = 16 * 1024, RESULT_SIZE = 304, MAX_DATES = 8 };

struct piece {
    const char *data;
    size_t size;
};

/* One answer; each piece is a write of its own. A piece without data ends the list. */
struct reply {
    const char *path;
    struct piece pieces[4];
};

struct connection {
    char input[MAX_REQUEST];
    size_t filled;
    const struct reply *reply; /* being written; NULL between answers */
    size_t piece, written;
    int timer; /* of the running tick stream; -1 without one */
    long ticks, ticks_left;
};

static struct connection *connections[MAX_FDS]; /* by file descriptor; NULL when closed */
static int poller;

#define DATE "Thu, 01 Jan 1970 00:00:00 GMT"
static const char EVENT_STREAM[] =
    "HTTP/1.1 200 OK\r\n"
    "date: " DATE "\r\n"
    "server: bench\r\n"
    "content-type: text/event-stream\r\n"
    "cache-control: no-cache, no-transform\r\n"
    "transfer-encoding: chunked\r\n\r\n";
static const char LAST_CHUNK[] = "0\r\n\r\n";
static char *dates[MAX_DATES]; /* where the heads of the answers hold theirs */
static size_t date_count;
static char *final_chunks; /* of a tick stream: the result and the last chunk */

static struct reply replies[] = {{.path = "/json"},   {.path = "/sse"},   {.path = "/sse3"},
                                 {.path = "/big64k"}, {.path = "/big1m"}, {.path = "/ticks"}};
static const struct reply not_found = {
    .pieces = {{"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 45}}};

static void fail(const char *what) {
    perror(what);
    exit(EXIT_FAILURE);
}

static char *format(const char *pattern, ...) __attribute__((format(printf, 1, 2)));
static char *format(const char *pattern, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, pattern);
    if (vasprintf(&text, pattern, arguments) < 0) fail("vasprintf");
    va_end(arguments);
    return text;
}

/* ---- answers ---------------------------------------------------------------------------- */

/* A tool result whose JSON text has exactly `size` bytes. */
static char *make_result(size_t size) {
    static const char before[] =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"";
    static const char after[] = "\"}],\"isError\":false}}";
    size_t filler = size - strlen(before) - strlen(after);
    char *text = malloc(filler + 1);
    if (!text) fail("malloc");
    memset(text, 'm', filler);
    text[filler] = '\0';
    return format("%s%s%s", before, text, after);
}

static char *make_json(size_t size) {
    return format(
        "HTTP/1.1 200 OK\r\ndate: " DATE "\r\nserver: bench\r\n"
        "content-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
        size, make_result(size));
}

static char *make_event_chunk(const char *message) {
    char *event = format("event: message\r\ndata: %s\r\n\r\n", message);
    return format("%zx\r\n%s\r\n", strlen(event), event);
}

static void set_pieces(struct reply *reply, char *first, const char *second, const char *third) {
    const char *texts[] = {first, second, third};
    dates[date_count++] = strstr(first, DATE);
    for (size_t i = 0; i < 3 && texts[i]; i++)
        reply->pieces[i] = (struct piece){texts[i], strlen(texts[i])};
}

static void make_replies(void) {
    char *chunk = make_event_chunk(make_result(RESULT_SIZE));
    final_chunks = format("%s%s", chunk, LAST_CHUNK);
    set_pieces(&replies[0], make_json(RESULT_SIZE), NULL, NULL);
    set_pieces(&replies[1], format("%s%s", EVENT_STREAM, final_chunks), NULL, NULL);
    set_pieces(&replies[2], format("%s", EVENT_STREAM), chunk, LAST_CHUNK);
    set_pieces(&replies[3], make_json(64 * 1024), NULL, NULL);
    set_pieces(&replies[4], make_json(1024 * 1024), NULL, NULL);
    set_pieces(&replies[5], format("%s", EVENT_STREAM), NULL, NULL);
}

/* Brings the answers' dates up to the second (RFC 9110 section 5.6.7: a fixed length). */
static void refresh_dates(void) {
    static time_t written;
    struct timespec now;
    struct tm parts;
    char text[sizeof DATE];
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == written) return;
    written = now.tv_sec;
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now.tv_sec, &parts));
    for (size_t i = 0; i < date_count; i++) memcpy(dates[i], text, sizeof DATE - 1);
}

/* ---- connections ------------------------------------------------------------------------ */

/* Descriptors of connections and of their timers share one poller: the low bit tells a timer,
 * which is registered under its connection's descriptor. */
static void watch(int operation, int fd, uint32_t events, int connection, bool timer) {
    struct epoll_event event = {.events = events,
                                .data.u64 = (uint64_t)connection << 1 | (uint64_t)timer};
    if (epoll_ctl(poller, operation, fd, &event) < 0) fail("epoll_ctl");
}

static void stop_ticks(struct connection *peer) {
    if (peer->timer >= 0) close(peer->timer);
    peer->timer = -1;
}

static void close_connection(int fd) {
    stop_ticks(connections[fd]);
    free(connections[fd]);
    connections[fd] = NULL;
    close(fd);
}

static void accept_connections(int listener) {
    int fd, yes = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FDS || !(connections[fd] = calloc(1, sizeof **connections))) {
            close(fd);
            continue;
        }
        connections[fd]->timer = -1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, fd, false);
    }
}

/* ---- tick streams ----------------------------------------------------------------------- */

static long parameter(const char *target, const char *name, long fallback) {
    const char *found = strstr(target, name);
    long value = found ? strtol(found + strlen(name), NULL, 10) : 0;
    return value > 0 ? value : fallback;
}

static void start_ticks(int fd, const char *target) {
    struct connection *peer = connections[fd];
    long interval = 1000000000L / parameter(target, "rate=", 100);
    struct timespec period = {interval / 1000000000L, interval % 1000000000L};
    peer->ticks = 0;
    peer->ticks_left = parameter(target, "events=", 100);
    peer->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    if (peer->timer < 0 ||
        timerfd_settime(peer->timer, 0, &(struct itimerspec){period, period}, NULL) < 0)
        fail("timerfd");
    watch(EPOLL_CTL_ADD, peer->timer, EPOLLIN, fd, true);
}

static size_t make_tick(char *chunk, size_t capacity, long number) {
    struct timespec now;
    char event[256];
    clock_gettime(CLOCK_MONOTONIC, &now);
    int size = snprintf(event, sizeof event,
                        "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":"
                        "\"notifications/progress\",\"params\":{\"progressToken\":\"ticks\","
                        "\"progress\":%ld,\"message\":\"%lld\"}}\r\n\r\n",
                        number, now.tv_sec * 1000000000LL + now.tv_nsec);
    return (size_t)snprintf(chunk, capacity, "%x\r\n%s\r\n", (unsigned)size, event);
}

/* Sends the next event; true when the stream is complete and the connection still good. */
static bool tick(int fd) {
    struct connection *peer = connections[fd];
    uint64_t expirations;
    char chunk[512];
    if (read(peer->timer, &expirations, sizeof expirations) < 0) return false;
    size_t size = make_tick(chunk, sizeof chunk, ++peer->ticks);
    bool sent = send(fd, chunk, size, MSG_NOSIGNAL) == (ssize_t)size;
    bool last = --peer->ticks_left == 0;
    if (sent && last) {
        size = strlen(final_chunks);
        sent = send(fd, final_chunks, size, MSG_NOSIGNAL) == (ssize_t)size;
        stop_ticks(peer);
    }
    if (!sent) close_connection(fd); /* gone, or so slow that its latency means nothing */
    return sent && last;
}

/* ---- requests --------------------------------------------------------------------------- */

/* Writes the answer on; false when the socket is full or gone. */
static bool flush_reply(int fd) {
    struct connection *peer = connections[fd];
    for (; peer->reply->pieces[peer->piece].data; peer->piece++, peer->written = 0) {
        struct piece piece = peer->reply->pieces[peer->piece];
        while (peer->written < piece.size) {
            ssize_t count = send(fd, piece.data + peer->written, piece.size - peer->written,
                                 MSG_NOSIGNAL);
            if (count < 0) {
                if (errno == EAGAIN)
                    watch(EPOLL_CTL_MOD, fd, EPOLLOUT, fd, false);
                else
                    close_connection(fd);
                return false;
            }
            peer->written += (size_t)count;
        }
    }
    peer->reply = NULL;
    return true;
}

static size_t content_length(const char *head) {
    const char *field = strcasestr(head, "\r\ncontent-length:");
    return field ? strtoul(field + strlen("\r\ncontent-length:"), NULL, 10) : 0;
}

/* The bytes of the first request in the buffer; 0 while it is incomplete. */
static size_t request_size(struct connection *peer) {
    char *end = memmem(peer->input, peer->filled, "\r\n\r\n", 4);
    if (!end) return 0;
    end[2] = '\0'; /* of a head that was seen whole: it is text from here on */
    size_t size = (size_t)(end + 4 - peer->input) + content_length(peer->input);
    end[2] = '\r';
    return size <= peer->filled ? size : 0;
}

static void start_reply(int fd, const char *line) {
    struct connection *peer = connections[fd];
    const char *target = strncmp(line, "POST ", 5) == 0 ? line + 5 : "";
    size_t length = strcspn(target, "? ");
    refresh_dates();
    peer->reply = &not_found;
    peer->piece = peer->written = 0;
    for (size_t i = 0; i < sizeof replies / sizeof *replies; i++)
        if (strlen(replies[i].path) == length && memcmp(replies[i].path, target, length) == 0)
            peer->reply = &replies[i];
    if (strncmp(target, "/ticks", length) == 0 && length == 6) start_ticks(fd, target);
}

/* Answers all whole requests in the buffer, as far as the socket takes it. */
static void advance(int fd) {
    struct connection *peer = connections[fd];
    size_t size;
    if (peer->reply && !flush_reply(fd)) return;
    while (peer->timer < 0 && (size = request_size(peer)) > 0) {
        start_reply(fd, peer->input);
        peer->filled -= size;
        memmove(peer->input, peer->input + size, peer->filled);
        if (!flush_reply(fd)) return;
    }
}

static void read_requests(int fd) {
    struct connection *peer = connections[fd];
    /* The last byte stays free for the terminator of the text functions above. */
    ssize_t count = recv(fd, peer->input + peer->filled, MAX_REQUEST - 1 - peer->filled, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) { /* gone, or a request larger than the buffer */
        close_connection(fd);
        return;
    }
    peer->filled += (size_t)count;
    peer->input[peer->filled] = '\0';
    advance(fd);
}

static void handle(uint32_t events, int fd, bool timer) {
    if (!connections[fd]) return; /* closed by an earlier event of the same batch */
    if (timer) {
        if (connections[fd]->timer >= 0 && tick(fd)) advance(fd);
    } else if (events & EPOLLOUT) {
        watch(EPOLL_CTL_MOD, fd, EPOLLIN, fd, false);
        advance(fd);
    } else {
        read_requests(fd);
    }
}

static int listen_on(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0)
        fail("listen");
    return fd;
}

int main(int argc, char **argv) {
    struct epoll_event events[MAX_EVENTS];
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* never outlive the benchmark */
    make_replies();
    if (argc != 2) {
        fprintf(stderr, "usage: %s PORT\n", argv[0]);
        return EXIT_FAILURE;
    }
    int listener = listen_on(atoi(argv[1]));
    poller = epoll_create1(0);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, listener, false);
    for (;;) {
        int count = epoll_wait(poller, events, MAX_EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = (int)(events[i].data.u64 >> 1);
            if (fd == listener)
                accept_connections(listener);
            else
                handle(events[i].events, fd, events[i].data.u64 & 1);
        }
    }
}
