// SPDX-License-Identifier: Apache-2.0

/* What davit-enter is told by the holder, and what it tells the holder. */

#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "enter.h"

/* The first text of the record and of the session: the two must be of this version. */
#define FORMAT "davit-enter 1"

/* Most that is read of the record, and of the session. */
#define MAX_RECORD (64 << 20)

/* Writes a report in one piece, so that those of two processes do not mix. */
void report(enum report what, const char *message, size_t len)
{
	char piece[PIPE_BUF];
	uint32_t size;

	if (len > sizeof(piece) - 5)
		len = sizeof(piece) - 5;
	size = htole32((uint32_t)len);
	piece[0] = (char)what;
	memcpy(piece + 1, &size, sizeof(size));
	memcpy(piece + 5, message, len);
	/* When nobody reads it any more, nobody wants the program. */
	if (write(REPORT, piece, len + 5) < 0)
		_exit(1);
}

void fail(enum report why, const char *format, ...)
{
	char message[PIPE_BUF];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (len >= (int)sizeof(message))
		len = sizeof(message) - 1;
	report(why, message, len < 0 ? 0 : (size_t)len);
	_exit(1);
}

const char *reason(void)
{
	static char text[128];

	snprintf(text, sizeof(text), "%s", strerror(errno));
	if (text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z'))
		text[0] += 'a' - 'A';
	return text;
}

void *allocate(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size);

	if (p == NULL)
		fail(FAILED, "cannot enter the container: %s", reason());
	return p;
}

char *contents(int fd, size_t max, size_t *len, const char *name)
{
	size_t room = 8 << 10;
	char *p = malloc(room);

	*len = 0;
	while (p != NULL) {
		ssize_t n = pread(fd, p + *len, room - *len, (off_t)*len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fail(FAILED, "cannot read %s: %s", name, reason());
		if (n == 0)
			return p;
		*len += (size_t)n;
		if (*len > max)
			fail(FAILED, "cannot read %s: it is longer than %zu bytes", name, max);
		if (*len == room)
			p = realloc(p, room *= 2);
	}
	fail(FAILED, "cannot read %s: %s", name, reason());
}

/*
 * The form of the record and the session: numbers of 8 bytes, the lowest first, and
 * texts, which are a number and as many bytes and a NUL. A list is the number of its
 * texts and these. Written by libcontainer-exec/protocol/enter.go.
 */
struct reader {
	const char *name;
	char *at;
	size_t left;
};

__attribute__((noreturn))
static void malformed(const struct reader *r)
{
	fail(FAILED, "cannot read %s: it is not whole, or of another version of the engine: start the container again", r->name);
}

static uint64_t number(struct reader *r)
{
	uint64_t n;

	if (r->left < sizeof(n))
		malformed(r);
	memcpy(&n, r->at, sizeof(n));
	r->at += sizeof(n);
	r->left -= sizeof(n);
	return le64toh(n);
}

static char *bytes(struct reader *r, size_t *len)
{
	uint64_t n = number(r);
	char *p = r->at;

	if (n >= r->left || p[n] != '\0')
		malformed(r);
	r->at += n + 1;
	r->left -= n + 1;
	*len = n;
	return p;
}

static char *string(struct reader *r)
{
	size_t len;
	char *p = bytes(r, &len);

	if (strlen(p) != len)
		malformed(r);
	return p;
}

static char **list(struct reader *r)
{
	uint64_t n = number(r);
	char **all;

	if (n > r->left / 9) /* the least that a text takes */
		malformed(r);
	all = allocate(n + 1, sizeof(char *));
	for (uint64_t i = 0; i < n; i++)
		all[i] = string(r);
	return all;
}

static struct reader begin(int fd, const char *name)
{
	struct reader r = { name, NULL, 0 };

	r.at = contents(fd, MAX_RECORD, &r.left, name);
	if (strcmp(string(&r), FORMAT) != 0)
		malformed(&r);
	return r;
}

void read_container(struct container *c)
{
	struct reader r = begin(RECORD, "the container's record");
	size_t len;
	char *p;

	c->namespaces = (int)number(&r);
	c->no_new_privs = number(&r);
	c->has_umask = number(&r);
	c->umask = (mode_t)number(&r);
	c->has_score = number(&r);
	c->score = (int)number(&r);
	c->caps = number(&r);
	c->all_caps = number(&r);
	c->keyring = string(&r);
	c->label = string(&r);
	c->all_label = string(&r);
	c->user = string(&r);
	c->cwd = string(&r);
	c->groups = list(&r);
	c->env = list(&r);
	c->tty_env = list(&r);
	c->limit_count = number(&r);
	if (c->limit_count > r.left / 24)
		malformed(&r);
	c->limits = allocate(c->limit_count, sizeof(struct limit));
	for (size_t i = 0; i < c->limit_count; i++) {
		c->limits[i].resource = (int)number(&r);
		c->limits[i].value.rlim_cur = number(&r);
		c->limits[i].value.rlim_max = number(&r);
	}
	c->unified = number(&r);
	c->tolerant = number(&r);
	c->cgroups = list(&r);
	c->filter_flags = (unsigned int)number(&r);
	if (c->filter_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
		fail(FAILED, "cannot run a further program in a container whose seccomp profile notifies a listener");
	p = bytes(&r, &len);
	if (len % sizeof(struct sock_filter) != 0 || len / sizeof(struct sock_filter) > USHRT_MAX || r.left != 0)
		malformed(&r);
	c->filter.len = (unsigned short)(len / sizeof(struct sock_filter));
	c->filter.filter = allocate(c->filter.len, sizeof(struct sock_filter));
	memcpy(c->filter.filter, p, len);
}

void read_session(struct session *s)
{
	struct reader r = begin(SESSION, "the exec session's record");

	s->user = string(&r);
	s->cwd = string(&r);
	s->tty = number(&r);
	s->privileged = number(&r);
	s->size.ws_row = (unsigned short)number(&r);
	s->size.ws_col = (unsigned short)number(&r);
	s->args = list(&r);
	s->env = list(&r);
	if (r.left != 0 || s->args[0] == NULL)
		malformed(&r);
}
