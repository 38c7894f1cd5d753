// SPDX-License-Identifier: Apache-2.0

/*
 * Users and groups, found in the files of a container as the monitor finds
 * those of its first process (libcontainer-exec/monitor/user.go, and
 * github.com/moby/sys/user below it): the first that matches counts, and what is
 * not a number in the place of one is 0.
 *
 * The files are the container's: nothing here trusts their form.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enter.h"

/* Ids are of 31 bits everywhere in Docker. */
#define MAX_ID INT32_MAX

enum form { NUMBER, NO_NUMBER, OUT_OF_RANGE };

static struct slice slice(const char *s)
{
	return (struct slice){ s, strlen(s) };
}

static bool equal(struct slice a, struct slice b)
{
	return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static struct slice trim(struct slice s)
{
	while (s.len > 0 && is_space(s.at[0]))
		s.at++, s.len--;
	while (s.len > 0 && is_space(s.at[s.len - 1]))
		s.len--;
	return s;
}

/* Takes what precedes the next separator off rest; false when nothing is left. */
static bool cut(struct slice *rest, char separator, struct slice *piece)
{
	const char *end;

	if (rest->at == NULL)
		return false;
	*piece = *rest;
	end = rest->len > 0 ? memchr(rest->at, separator, rest->len) : NULL;
	if (end == NULL) {
		rest->at = NULL;
		return true;
	}
	piece->len = (size_t)(end - rest->at);
	rest->at = end + 1;
	rest->len -= piece->len + 1;
	return true;
}

/* The field of a line with a number from 0 on; empty when there are fewer. */
static struct slice field(struct slice line, int number)
{
	struct slice piece;

	while (cut(&line, ':', &piece))
		if (number-- == 0)
			return piece;
	return (struct slice){ "", 0 };
}

/* A decimal number with or without a sign, which stays in the range of *n. */
static enum form parse(struct slice s, int64_t *n)
{
	bool negative = s.len > 0 && s.at[0] == '-';
	enum form form = NUMBER;

	*n = 0;
	if (s.len > 0 && (s.at[0] == '-' || s.at[0] == '+'))
		s.at++, s.len--;
	if (s.len == 0)
		return NO_NUMBER;
	for (size_t i = 0; i < s.len; i++)
		if (s.at[i] < '0' || s.at[i] > '9')
			return NO_NUMBER;
	for (size_t i = 0; i < s.len && form == NUMBER; i++) {
		*n = *n * 10 + (s.at[i] - '0');
		if (*n > MAX_ID)
			form = OUT_OF_RANGE;
	}
	if (negative)
		*n = -*n;
	return form;
}

/* A number in a file: what is none is 0, and what is out of range stays so. */
static int64_t loose(struct slice s)
{
	int64_t n;

	return parse(s, &n) == NO_NUMBER ? 0 : n;
}

/* An argument that may be a number: one that is has to be an id. */
static enum form parse_id(struct slice s, int64_t *n)
{
	enum form form = parse(s, n);

	return form == NUMBER && *n < 0 ? OUT_OF_RANGE : form;
}

__attribute__((format(printf, 1, 2)))
static char *text(const char *format, ...)
{
	char *s;
	va_list args;

	va_start(args, format);
	if (vasprintf(&s, format, args) < 0)
		s = NULL;
	va_end(args);
	return s != NULL ? s : "out of memory";
}

static char *range(void)
{
	return text("uids and gids must be in range 0-%d", MAX_ID);
}

static char *missing(const char *what, struct slice name, const char *file)
{
	return text("unable to find %s %.*s: no matching entries in %s file", what, (int)name.len, name.at, file);
}

/* The next line of a file that is not blank. */
static bool next(struct slice *rest, struct slice *line)
{
	while (cut(rest, '\n', line)) {
		*line = trim(*line);
		if (line->len > 0)
			return true;
	}
	return false;
}

static bool next_group(struct slice *rest, struct slice *line)
{
	while (next(rest, line))
		if (line->at[0] != '#')
			return true;
	return false;
}

static bool in_range(int64_t id)
{
	return id >= 0 && id <= MAX_ID;
}

/* Adds a group; *bad when it is none that a process can have. */
static char *add(struct user *u, int64_t gid, bool *bad)
{
	*bad = *bad || !in_range(gid);
	if (u->count % 64 == 0) {
		gid_t *more = realloc(u->groups, (u->count + 64) * sizeof(gid_t));

		if (more == NULL)
			return text("cannot list groups: %s", strerror(errno));
		u->groups = more;
	}
	u->groups[u->count++] = (gid_t)gid;
	return NULL;
}

/* Whether a line of group(5) lists a member. */
static bool has_member(struct slice line, struct slice name)
{
	struct slice list = field(line, 3), member;

	while (cut(&list, ',', &member))
		if (equal(member, name))
			return true;
	return false;
}

/* The id of a group that is given by name or number. */
static char *find_group(struct slice file, struct slice arg, int64_t *gid)
{
	struct slice line;
	int64_t wanted;
	enum form form = parse_id(arg, &wanted);

	if (form == OUT_OF_RANGE)
		return range();
	if (form == NUMBER) {
		*gid = wanted;
		return NULL;
	}
	while (next_group(&file, &line)) {
		if (equal(field(line, 0), arg)) {
			*gid = loose(field(line, 2));
			return NULL;
		}
	}
	return missing("group", arg, "group");
}

/* The line of passwd(5) that a user argument means. */
static char *find_passwd(struct slice file, struct slice arg, int64_t *uid, struct slice *found)
{
	struct slice line;
	enum form form = arg.len > 0 ? parse_id(arg, uid) : NUMBER;

	if (arg.len == 0)
		*uid = 0;
	if (form == OUT_OF_RANGE)
		return range();
	while (next(&file, &line)) {
		int64_t its = loose(field(line, 2));

		if (form == NUMBER ? its == *uid : equal(field(line, 0), arg)) {
			*uid = its;
			*found = line;
			return NULL;
		}
	}
	return form == NUMBER ? NULL : missing("user", arg, "passwd");
}

static int compare(const void *a, const void *b)
{
	gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

	return x < y ? -1 : x > y;
}

static char *find_groups(const struct accounts *a, struct slice name, struct user *u, bool *bad)
{
	struct slice file = a->group, line;
	char *err;

	while (name.len > 0 && next_group(&file, &line))
		if (has_member(line, name) && (err = add(u, loose(field(line, 2)), bad)) != NULL)
			return err;
	return NULL;
}

char *find_user(const struct accounts *a, const char *spec, char *const *extra, struct user *u)
{
	struct slice user_arg = field(slice(spec), 0), group_arg = field(slice(spec), 1), line = { NULL, 0 };
	int64_t uid = 0, gid = 0;
	bool bad = false;
	size_t kept = 0;
	char *err;

	memset(u, 0, sizeof(*u));
	/* Both arguments are looked at before any file is. */
	if (group_arg.len > 0 && parse_id(group_arg, &gid) == OUT_OF_RANGE)
		return range();
	gid = 0;
	if ((err = find_passwd(a->passwd, user_arg, &uid, &line)) != NULL)
		return err;
	if (line.at != NULL)
		gid = loose(field(line, 3));
	if (group_arg.len > 0)
		err = find_group(a->group, group_arg, &gid);
	else if (line.at != NULL)
		err = find_groups(a, field(line, 0), u, &bad);
	if (err == NULL)
		err = add(u, gid, &bad);
	for (; err == NULL && *extra != NULL; extra++) {
		int64_t more = 0;

		err = find_group(a->group, slice(*extra), &more);
		if (err == NULL)
			err = in_range(more) ? add(u, more, &bad) : range();
	}
	if (err != NULL)
		return err;
	if (bad || !in_range(uid))
		return range();
	u->uid = (uid_t)uid;
	u->gid = (gid_t)gid;
	qsort(u->groups, u->count, sizeof(gid_t), compare);
	for (size_t i = 0; i < u->count; i++)
		if (i == 0 || u->groups[i] != u->groups[kept - 1])
			u->groups[kept++] = u->groups[i];
	u->count = kept;
	return NULL;
}

struct slice find_home(const struct accounts *a, uid_t uid)
{
	struct slice file = a->passwd, line;

	while (next(&file, &line))
		if (loose(field(line, 2)) == (int64_t)uid)
			return field(line, 5);
	return (struct slice){ "/", 1 };
}
