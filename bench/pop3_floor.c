/* Prepared answers in the shape of POP3: what a fetch costs when nobody keeps any mail.
 *
 *     pop3_floor PORT MESSAGES SIZE
 *
 * One process, epoll, 127.0.0.1. Every answer is made before the first client comes, and every RETR gets the same one,
 * whatever its number: SIZE octets of content. STAT, LIST and UIDL speak of MESSAGES of them. All other commands are
 * right, also before a login, and any password is. What is left is the kernel, the loopback and the client: this is the
 * floor under what a message costs, and it is no server. Numbers below 2 are the caller's mistake.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define INPUT 16384  /* octets of commands that wait: more than a client has on their way */
#define TOGETHER 128 /* answers in one write */
#define EVENTS 64

struct text {
    char *octets;
    size_t length;
};

struct session {
    int fd;
    int leaving;        /* QUIT was said */
    uint32_t wanted;    /* what epoll looks for */
    struct text answer; /* what goes out now */
    size_t times;       /* how often it still has to */
    size_t sent;        /* octets of the first of them that have gone */
    size_t filled;      /* octets in input */
    char input[INPUT];
};

static struct text ok, stat_answer, list_answer, uidl_answer, message;
static int epoll;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *room(size_t octets)
{
    void *got = malloc(octets);

    if (got == NULL)
        die("malloc");
    return got;
}

static struct text listing(long messages, const char *line, long size)
{
    struct text text = {room(32 + (size_t)messages * 48), 0};

    text.length = (size_t)sprintf(text.octets, "+OK\r\n");
    for (long number = 1; number <= messages; number++)
        text.length += (size_t)sprintf(text.octets + text.length, line, number, size);
    text.length += (size_t)sprintf(text.octets + text.length, ".\r\n");
    return text;
}

/* "+OK", then so many octets in lines of 78, CRLF at the end of each, then the dot. */
static struct text content(size_t size)
{
    struct text text = {room(size + 16), 5};

    memcpy(text.octets, "+OK\r\n", 5);
    for (size_t left = size; left > 0;) {
        size_t line = left >= 82 ? 80 : left; /* no line end is cut in two */
        memset(text.octets + text.length, 'x', line);
        memcpy(text.octets + text.length + line - 2, "\r\n", 2);
        text.length += line;
        left -= line;
    }
    memcpy(text.octets + text.length, ".\r\n", 3);
    text.length += 3;
    return text;
}

static void prepare(long messages, long size)
{
    ok = (struct text){"+OK\r\n", 5};
    stat_answer.octets = room(64);
    stat_answer.length = (size_t)sprintf(stat_answer.octets, "+OK %ld %ld\r\n", messages, messages * size);
    list_answer = listing(messages, "%ld %ld\r\n", size);
    uidl_answer = listing(messages, "%1$ld floor%1$ld\r\n", size);
    message = content((size_t)size);
}

static int is(const char *line, const char *verb)
{
    return strncasecmp(line, verb, 4) == 0;
}

/* Takes the next command, and the RETRs right behind one; 0: none is whole. */
static int take(struct session *session)
{
    char *line = session->input, *limit = line + session->filled, *end;

    session->times = 0;
    session->answer = message;
    while ((end = memchr(line, '\n', (size_t)(limit - line))) != NULL) {
        int retr = end - line > 4 && is(line, "RETR");
        if (session->times > 0 && !retr)
            break;
        if (!retr) {
            session->answer = is(line, "STAT") ? stat_answer : is(line, "LIST") ? list_answer
                            : is(line, "UIDL") ? uidl_answer : ok;
            session->leaving = is(line, "QUIT");
        }
        session->times++;
        line = end + 1;
        if (!retr)
            break;
    }
    session->filled = (size_t)(limit - line);
    memmove(session->input, line, session->filled);
    return session->times > 0;
}

/* 1: all has gone. 0: the client has to read first. -1: it has gone. */
static int give(struct session *session)
{
    struct iovec parts[TOGETHER];

    while (session->times > 0) {
        size_t count = session->times < TOGETHER ? session->times : TOGETHER;
        for (size_t part = 0; part < count; part++)
            parts[part] = (struct iovec){session->answer.octets, session->answer.length};
        parts[0].iov_base = session->answer.octets + session->sent;
        parts[0].iov_len -= session->sent;
        struct msghdr head = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t gone = sendmsg(session->fd, &head, MSG_NOSIGNAL);
        if (gone < 0)
            return errno == EAGAIN ? 0 : -1;
        session->sent += (size_t)gone;
        session->times -= session->sent / session->answer.length;
        session->sent %= session->answer.length;
    }
    return 1;
}

static void look_for(struct session *session, uint32_t wanted)
{
    struct epoll_event event = {.events = wanted, .data.ptr = session};

    if (wanted != session->wanted && epoll_ctl(epoll, EPOLL_CTL_MOD, session->fd, &event) < 0)
        die("epoll_ctl");
    session->wanted = wanted;
}

/* 0: the session is over. */
static int serve(struct session *session)
{
    int gone = give(session);

    if (gone > 0) {
        ssize_t came = recv(session->fd, session->input + session->filled, INPUT - session->filled, 0);
        if (came == 0 || (came < 0 && errno != EAGAIN))
            return 0;
        session->filled += came > 0 ? (size_t)came : 0;
        while (gone > 0 && !session->leaving && take(session))
            gone = give(session);
        if (gone > 0 && session->filled == INPUT)
            return 0; /* a line without an end */
    }
    look_for(session, gone > 0 ? EPOLLIN : EPOLLOUT);
    return gone >= 0 && !(gone > 0 && session->leaving);
}

static void welcome(int listener)
{
    struct session *session = room(sizeof *session);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = session};
    int at_once = 1;

    memset(session, 0, offsetof(struct session, input));
    session->wanted = EPOLLIN;
    session->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (session->fd < 0) {
        free(session);
        return;
    }
    setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    session->answer = ok;
    session->times = 1;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, session->fd, &event) < 0)
        die("epoll_ctl");
    give(session);
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), again = 1;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &again, sizeof again);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 128) < 0)
        die("listen");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll");
    return listener;
}

int main(int count, char **words)
{
    struct epoll_event events[EVENTS];

    if (count != 4)
        return 64;
    prepare(atol(words[2]), atol(words[3]));
    int listener = listen_on(atoi(words[1]));
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int at = 0; at < ready; at++) {
            struct session *session = events[at].data.ptr;
            if (session == NULL) {
                welcome(listener);
            } else if (!serve(session)) {
                close(session->fd);
                free(session);
            }
        }
    }
}
