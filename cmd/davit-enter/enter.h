/* SPDX-License-Identifier: Apache-2.0 */

#ifndef DAVIT_ENTER_H
#define DAVIT_ENTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/types.h>

/* The descriptors that the holder passes (protocol.EnterReport and so on). */
enum {
	REPORT = 3, /* a pipe: who the program is, or why it is not; closed as it begins */
	RECORD = 4, /* what the container is, enter.rec */
	SESSION = 5, /* what to run in it */
	PIDFD = 6, /* of the container's first process */
};

/* What a report is about, for the holder: libcontainer-exec/holder/enter.go. */
enum report {
	PROGRAM = 'P', /* its pid */
	FAILED = 'F', /* nobody's fault */
	NOT_STARTED = 'S', /* the command's fault */
	DENIED = 'D', /* the same: it is there and cannot be executed */
	NOT_RUNNING = 'N', /* the container has ended */
};

struct limit {
	int resource;
	struct rlimit64 value;
};

/* What the container is, as the monitor recorded it when it made it. */
struct container {
	int namespaces; /* CLONE_NEW*, those that are not the host's */
	bool no_new_privs, has_umask, has_score, tolerant, unified;
	mode_t umask;
	int score; /* oom_score_adj */
	uint64_t caps, all_caps; /* of an ordinary session, and a privileged one */
	char *keyring;
	char *label, *all_label; /* of AppArmor, likewise; "" changes nothing */
	char *user, *cwd;
	char **groups, **env, **tty_env, **cgroups;
	struct limit *limits;
	size_t limit_count;
	unsigned int filter_flags;
	struct sock_fprog filter; /* none when it is empty */
};

/* What to run. */
struct session {
	char *user, *cwd;
	bool tty, privileged;
	struct winsize size;
	char **args, **env;
};

/* Tells the holder something. */
void report(enum report what, const char *message, size_t len);

/* Tells the holder why the program is not run, and ends the process. */
__attribute__((noreturn, format(printf, 2, 3)))
void fail(enum report why, const char *format, ...);

/* The text of errno as the rest of the engine has it: in lower case. */
const char *reason(void);

/* Memory of zeros; it does not return without. */
void *allocate(size_t count, size_t size);

/* Reads all of a file from its beginning, which must not be longer than max. */
char *contents(int fd, size_t max, size_t *len, const char *name);

/* Read the two descriptors of these names. */
void read_container(struct container *c);
void read_session(struct session *s);

/* A piece of a file, which is not terminated. */
struct slice {
	const char *at;
	size_t len;
};

/* What passwd(5) and group(5) of a container hold; empty when they are missing. */
struct accounts {
	struct slice passwd, group;
};

/* Who a process is to be. */
struct user {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* supplementary ones and gid itself, sorted, each once */
	size_t count;
};

/*
 * Finds user[:group], names or numbers, and the extra groups. Returns NULL, or
 * why it cannot, in Docker's words.
 */
char *find_user(const struct accounts *accounts, const char *spec, char *const *extra, struct user *found);

/* The home directory of the first account with a user id; "/" without one. */
struct slice find_home(const struct accounts *accounts, uid_t uid);

#endif
