// SPDX-License-Identifier: Apache-2.0

/*
 * Davit-enter runs a further program in a container: docker exec, and the
 * healthcheck's probes. The holder executes it; nobody else has a use for it.
 *
 *	davit-enter PID
 *
 * PID is the container's first process. The program's stdio is there already; with
 * a terminal, it is the socket for the terminal's other end instead. The
 * descriptors that follow are named below.
 *
 * It does what libcontainer does to the same end, in C, because libcontainer takes
 * three executions of a Go program for it: docs/decisions/0019-exec-is-written-in-c.md.
 *
 * Two processes do the work. The first one has the privileges, joins all
 * namespaces and gives up what the program is not to have; but it stays in the host's
 * pid namespace, so that nobody in the container sees it. It makes the second, which
 * is born in the container's pid namespace, a child of the holder's, with the
 * program's own privileges, and executes the program.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <termios.h>
#include <grp.h>
#include <unistd.h>

#include "enter.h"

/* Most that is read of an account file. */
#define MAX_ACCOUNTS (16 << 20)

static void close_fd(int fd, const char *name)
{
	if (close(fd) < 0)
		fail(FAILED, "cannot close %s: %s", name, reason());
}

/* Writes to a file of the host in one piece; false with errno when it cannot. */
static bool put(int dir, const char *path, const char *text)
{
	size_t len = strlen(text);
	int fd = openat(dir, path, O_WRONLY | O_CLOEXEC), err = 0;
	ssize_t n;

	if (fd < 0)
		return false;
	n = write(fd, text, len);
	if (n != (ssize_t)len)
		err = n < 0 ? errno : EIO;
	close_fd(fd, path);
	errno = err;
	return err == 0;
}

/*
 * The host's procfs, by which this process says all that it has to say about itself:
 * what a container has mounted on /proc is the container's.
 */
static int open_proc(void)
{
	struct statfs fs;
	int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (proc < 0 || fstatfs(proc, &fs) < 0)
		fail(FAILED, "cannot open /proc: %s", reason());
	if (fs.f_type != PROC_SUPER_MAGIC)
		fail(FAILED, "cannot use /proc: it is not a procfs");
	return proc;
}

/* Has AppArmor confine the program, once that is executed. */
static void set_label(int proc, const char *label)
{
	char text[PATH_MAX];

	if (label[0] == '\0')
		return;
	if (snprintf(text, sizeof(text), "exec %s", label) >= (int)sizeof(text))
		fail(FAILED, "cannot apply the AppArmor profile: its name is too long");
	if (put(proc, "self/attr/apparmor/exec", text) || (errno == ENOENT && put(proc, "self/attr/exec", text)))
		return;
	fail(FAILED, "cannot apply the AppArmor profile %s: %s", label, reason());
}

static bool enter_cgroup(const char *dir)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/cgroup.procs", dir) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	return put(AT_FDCWD, path, "0");
}

/*
 * On version 2 the container's first process may have gone to a cgroup below its own:
 * where that has controllers on, as with systemd in it, no process can be
 * in between. The program goes where that one is.
 */
static bool follow_first_process(int proc, const char *pid)
{
	char path[64], *text, *line;
	size_t len;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	text = contents(fd, 1 << 20, &len, path);
	close_fd(fd, path);
	/* What was read is of the process that the descriptor is of: it still is there. */
	if (syscall(SYS_pidfd_send_signal, PIDFD, 0, NULL, 0) < 0)
		return false;
	if (len < 4 || memcmp(text, "0::/", 4) != 0 || (line = memchr(text, '\n', len)) == NULL) {
		errno = ENOENT;
		return false;
	}
	*line = '\0';
	line = allocate(len + sizeof("/sys/fs/cgroup"), 1);
	strcpy(line, "/sys/fs/cgroup");
	strcat(line, text + 3);
	return enter_cgroup(line);
}

/* Joins the container's cgroups, and uses all processors that they have. */
static void enter_cgroups(const struct container *c, int proc, const char *pid)
{
	static unsigned char every[8 << 10];

	for (char **dir = c->cgroups; *dir != NULL; dir++) {
		int err;

		if (enter_cgroup(*dir) || c->tolerant)
			continue;
		err = errno;
		if (c->unified && follow_first_process(proc, pid))
			continue;
		errno = err;
		fail(FAILED, "cannot join the container's cgroup %s: %s", *dir, reason());
	}
	memset(every, 0xff, sizeof(every));
	/* The holder's own affinity is not the container's; it stays where that is refused. */
	(void)syscall(SYS_sched_setaffinity, 0, sizeof(every), every);
}

static void join_namespaces(const struct container *c)
{
	if (c->namespaces == 0 || setns(PIDFD, c->namespaces) == 0)
		return;
	if (errno == ESRCH)
		fail(NOT_RUNNING, "the container is not running");
	fail(FAILED, "cannot join the container's namespaces: %s", reason());
}

/* The container's keys, and not the holder's. */
static void join_keyring(const char *name)
{
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) < 0 && errno != ENOSYS)
		fail(FAILED, "unable to join session keyring: unable to create session key: %s", reason());
}

static int open_beneath(const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .resolve = resolve };

	return (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
}

static void send_master(int socket, int master)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .room = { 0 } };
	struct iovec data = { "t", 1 };
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &master, sizeof(int));
	if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
		fail(FAILED, "cannot pass the terminal on: %s", reason());
}

/*
 * Makes a terminal of the container's own devpts, so that it has a name there. Returns
 * the program's end; the other goes to the socket that is standard input.
 */
static int open_terminal(const struct winsize *size)
{
	int master = open_beneath("/dev/pts/ptmx", O_RDWR | O_NOCTTY, RESOLVE_NO_SYMLINKS), terminal, locked = 0;
	struct statfs fs;
	struct stat st;

	if (master < 0 || fstatfs(master, &fs) < 0 || fstat(master, &st) < 0)
		fail(FAILED, "cannot open /dev/pts/ptmx in the container: %s", reason());
	if (fs.f_type != DEVPTS_SUPER_MAGIC || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2))
		fail(FAILED, "cannot use /dev/pts/ptmx in the container: it is not that of a devpts");
	if (ioctl(master, TIOCSPTLCK, &locked) < 0)
		fail(FAILED, "cannot unlock a terminal of the container: %s", reason());
	terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0)
		fail(FAILED, "cannot open a terminal of the container: %s", reason());
	if ((size->ws_row != 0 || size->ws_col != 0) && ioctl(master, TIOCSWINSZ, size) < 0)
		fail(FAILED, "cannot set the terminal's size: %s", reason());
	send_master(STDIN_FILENO, master);
	close_fd(master, "the terminal's other end");
	return terminal;
}

/*
 * Reads an account file of the container, which is empty when it is missing. It is
 * opened for reading only when it is a regular file: to open a device is to act on it, and
 * the image's author has chosen which.
 */
static struct slice read_accounts(int proc, const char *path)
{
	struct slice s = { "", 0 };
	struct stat st;
	char again[64];
	int named = open_beneath(path, O_PATH, RESOLVE_NO_MAGICLINKS), fd;

	if (named < 0 && (errno == ENOENT || errno == ENOTDIR))
		return s;
	if (named < 0 || fstat(named, &st) < 0)
		fail(FAILED, "cannot find %s in the container: %s", path, reason());
	if (!S_ISREG(st.st_mode))
		fail(FAILED, "cannot use %s in the container: not a regular file", path);
	snprintf(again, sizeof(again), "self/fd/%d", named); /* the very file that was looked at */
	fd = openat(proc, again, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(FAILED, "cannot open %s in the container: %s", path, reason());
	s.at = contents(fd, MAX_ACCOUNTS, &s.len, path);
	close_fd(fd, path);
	close_fd(named, path);
	return s;
}

/* The value of a variable, if this is it. */
static const char *value(const char *variable, const char *name, size_t len)
{
	return strncmp(variable, name, len) == 0 && variable[len] == '=' ? variable + len + 1 : NULL;
}

static const char *lookup(char *const *env, const char *name)
{
	const char *v;

	for (; *env != NULL; env++)
		if ((v = value(*env, name, strlen(name))) != NULL)
			return v;
	return NULL;
}

/*
 * The container's environment with the session's variables added or replaced; a
 * name without a value removes one. HOME is the user's where it has no value.
 */
static char **environment(char *const *base, char *const *more, struct slice home)
{
	size_t count = 0, room = 2, kept = 0;
	const char *v;
	char **env;

	for (size_t i = 0; base[i] != NULL; i++)
		room++;
	for (size_t i = 0; more[i] != NULL; i++)
		room++;
	env = allocate(room, sizeof(char *));
	for (; base[count] != NULL; count++)
		env[count] = base[count];
	for (; *more != NULL; more++) {
		size_t len = strcspn(*more, "="), i = 0;

		if ((*more)[0] == '=')
			fail(NOT_STARTED, "unable to start container process: invalid environment variable: name cannot be empty");
		while (i < count && value(env[i], *more, len) == NULL)
			i++;
		if ((*more)[len] == '\0') { /* it goes */
			if (i < count) {
				memmove(env + i, env + i + 1, (count - i - 1) * sizeof(char *));
				count--;
			}
			continue;
		}
		env[i] = *more;
		if (i == count)
			count++;
	}
	for (size_t i = 0; i < count; i++)
		if ((v = value(env[i], "HOME", 4)) == NULL || v[0] != '\0')
			env[kept++] = env[i];
	env[kept] = NULL;
	if (lookup(env, "HOME") == NULL) {
		env[kept] = allocate(home.len + sizeof("HOME="), 1);
		memcpy(env[kept], "HOME=", 5);
		memcpy(env[kept] + 5, home.at, home.len);
	}
	return env;
}

/* The program may open its stdio anew, by /proc/self/fd, whoever it is. */
static void own(int fd, uid_t uid)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		fail(FAILED, "cannot look at descriptor %d: %s", fd, reason());
	if (st.st_uid == uid || (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)))
		return; /* the null device is the host's */
	if (fchown(fd, uid, (gid_t)-1) < 0 && errno != EPERM && errno != EROFS)
		fail(FAILED, "cannot change the owner of descriptor %d: %s", fd, reason());
}

static void set_capabilities(uint64_t mask)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .effective = (uint32_t)mask, .permitted = (uint32_t)mask },
		{ .effective = (uint32_t)(mask >> 32), .permitted = (uint32_t)(mask >> 32) },
	};

	if (syscall(SYS_capset, &header, data) < 0)
		fail(FAILED, "cannot set the capabilities: %s", reason());
}

/* Of init, ambient and inheritable capabilities are none either. */
static void limit_capabilities(uint64_t bounding)
{
	for (unsigned long cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (!(bounding >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			fail(FAILED, "cannot drop capability %lu from the bounding set: %s", cap, reason());
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		fail(FAILED, "cannot drop the ambient capabilities: %s", reason());
}

static void become(const struct user *u, uint64_t bounding, uint64_t permitted)
{
	limit_capabilities(bounding);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		fail(FAILED, "cannot keep the capabilities: %s", reason());
	if (setgroups(u->count, u->groups) < 0)
		fail(FAILED, "cannot set the supplementary groups: %s", reason());
	if (setresgid(u->gid, u->gid, u->gid) < 0)
		fail(FAILED, "cannot become group %u: %s", u->gid, reason());
	if (setresuid(u->uid, u->uid, u->uid) < 0)
		fail(FAILED, "cannot become user %u: %s", u->uid, reason());
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		fail(FAILED, "cannot let go of the capabilities: %s", reason());
	set_capabilities(permitted);
}

static void hide(void)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		fail(FAILED, "cannot hide from the container: %s", reason());
}

/* A second process as fork makes it, but for its parent, which is ours. */
static pid_t fork_sibling(void)
{
#ifdef __s390__
	return (pid_t)syscall(SYS_clone, NULL, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL);
#else
	return (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
#endif
}

/* What a Go program, or systemd, has done to its signals is not the program's. */
static void reset_signals(void)
{
	sigset_t none;

	for (int s = 1; s < NSIG; s++) /* refused for some, which cannot be anything else */
		(void)signal(s, SIG_DFL);
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		fail(FAILED, "cannot unblock the signals: %s", reason());
}

static void take_terminal(int terminal)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (dup2(terminal, fd) < 0)
			fail(FAILED, "cannot use the terminal: %s", reason());
	if (ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		fail(FAILED, "cannot control the terminal: %s", reason());
}

/*
 * No directory of the host may be left, neither for the program nor to be named, as
 * /proc/self/fd/N, as its working directory or as the program itself (CVE-2024-21626).
 */
static void close_all(void)
{
	if (syscall(SYS_close_range, REPORT + 1, ~0U, 0) < 0)
		fail(FAILED, "cannot close the host's descriptors: %s", reason());
	if (fcntl(REPORT, F_SETFD, FD_CLOEXEC) < 0)
		fail(FAILED, "cannot close the report as the program begins: %s", reason());
}

/* The kernel says "(unreachable)" of a directory that is not below the root. */
static void verify_directory(void)
{
	char path[PATH_MAX];
	const char *suspicion = "current working directory is outside of container mount namespace root -- possible container breakout detected";

	if (syscall(SYS_getcwd, path, sizeof(path)) < 0) {
		if (errno == ENOENT)
			fail(DENIED, "unable to start container process: %s", suspicion);
		fail(DENIED, "unable to start container process: failed to verify if current working directory is safe: %s", reason());
	}
	if (path[0] != '/')
		fail(DENIED, "unable to start container process: %s", suspicion);
}

/* A name in quotation marks, with nothing in it that a terminal would act on. */
static const char *quote(const char *s)
{
	static char out[1024];
	size_t n = 0;

	out[n++] = '"';
	for (; *s != '\0' && n < sizeof(out) - 8; s++) {
		if (*s == '"' || *s == '\\')
			out[n++] = '\\';
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			n += (size_t)sprintf(out + n, "\\x%02x", (unsigned char)*s);
		else
			out[n++] = *s;
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}

/* Whether a file can be executed; errno tells why not, and stat_failed that it is not there. */
static bool executable(const char *path, bool *stat_failed)
{
	struct stat st;

	*stat_failed = stat(path, &st) < 0;
	if (*stat_failed)
		return false;
	if (S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return false;
	}
	return access(path, X_OK) == 0;
}

/* Finds the program as a shell would, with the texts of Go's os/exec. */
static const char *find_program(const char *name, const char *path)
{
	bool stat_failed;
	size_t len;
	char *file;

	if (strchr(name, '/') != NULL) {
		if (executable(name, &stat_failed))
			return name;
		fail(!stat_failed || errno == EACCES ? DENIED : NOT_STARTED, "unable to start container process: exec: %s: %s%s%s%s", quote(name),
		     stat_failed ? "stat " : "", stat_failed ? name : "", stat_failed ? ": " : "", reason());
	}
	for (; path != NULL; path = path[len] == '\0' ? NULL : path + len + 1) {
		const char *dir = path;
		int n;

		len = strcspn(path, ":");
		n = (int)len;
		if (n == 0)
			dir = ".", n = 1;
		if (asprintf(&file, "%.*s/%s", n, dir, name) < 0)
			fail(FAILED, "cannot look for %s: %s", name, reason());
		if (executable(file, &stat_failed)) {
			if (file[0] != '/')
				fail(NOT_STARTED, "unable to start container process: exec: %s: cannot run executable found relative to current directory", quote(name));
			return file;
		}
		free(file); /* what cannot be executed is passed by */
	}
	fail(NOT_STARTED, "unable to start container process: exec: %s: executable file not found in $PATH", quote(name));
}

static void confine(const struct container *c)
{
	if (c->filter.len == 0)
		return;
	if (c->filter_flags == 0 ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &c->filter, 0, 0) < 0
				 : syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, c->filter_flags, &c->filter) < 0)
		fail(FAILED, "cannot load the seccomp filter: %s", reason());
}

/* What is left to do for the program, and its user, in the container's pid namespace. */
struct start {
	const struct container *container;
	const char *cwd;
	char **args, **env;
	int terminal; /* -1 without */
	bool in_cwd, no_new_privs;
	uint64_t caps;
};

/*
 * The second process. What comes after the filter is all that the container's profile
 * has to allow: capset, execve, and write and exit_group where that fails.
 */
__attribute__((noreturn))
static void execute(const struct start *s)
{
	const char *program;
	char *message;
	int len;

	reset_signals();
	if (setsid() < 0)
		fail(FAILED, "cannot begin a session: %s", reason());
	if (s->terminal >= 0)
		take_terminal(s->terminal);
	close_all();
	if (!s->in_cwd && chdir(s->cwd) < 0)
		fail(DENIED, "unable to start container process: chdir to cwd (%s) set in config.json failed: %s", quote(s->cwd), reason());
	verify_directory();
	program = find_program(s->args[0], lookup(s->env, "PATH"));
	if (asprintf(&message, "exec %s: ", program) < 0)
		fail(FAILED, "cannot execute %s: %s", program, reason());
	confine(s->container);
	if (!s->no_new_privs && s->container->filter.len > 0)
		set_capabilities(s->caps);
	execve(program, s->args, s->env);
	/* It was there a moment ago and is no program: its user is told, as by libcontainer. */
	len = dprintf(STDERR_FILENO, "%s%s\n", message, reason());
	_exit(len < 0 ? 1 : 255);
}

static void set_limits(const struct container *c)
{
	for (size_t i = 0; i < c->limit_count; i++)
		if (prlimit64(0, c->limits[i].resource, &c->limits[i].value, NULL) < 0)
			fail(FAILED, "error setting rlimit type %d: %s", c->limits[i].resource, reason());
}

/* The user, and the environment with that one's HOME. */
static struct user identify(int proc, const struct container *c, const struct session *s, char ***env)
{
	struct accounts accounts = { read_accounts(proc, "/etc/passwd"), read_accounts(proc, "/etc/group") };
	struct user u;
	char *err = find_user(&accounts, s->user[0] != '\0' ? s->user : c->user, c->groups, &u);

	if (err != NULL)
		fail(DENIED, "%s", err);
	*env = environment(s->tty ? c->tty_env : c->env, s->env, find_home(&accounts, u.uid));
	return u;
}

/* What is of the host, and done before anything is the container's. */
static void leave_host(int proc, const struct container *c, const struct session *s, const char *pid)
{
	char score[32];

	snprintf(score, sizeof(score), "%d", c->score);
	if (c->has_score && !put(proc, "self/oom_score_adj", score))
		fail(FAILED, "cannot set oom_score_adj to %s: %s", score, reason());
	set_label(proc, s->privileged ? c->all_label : c->label);
	enter_cgroups(c, proc, pid);
	join_namespaces(c);
	close_fd(PIDFD, "the container's process");
	join_keyring(c->keyring);
}

int main(int argc, char **argv)
{
	static struct container c;
	static struct session s;
	struct start next = { .container = &c, .terminal = -1 };
	uint64_t bounding;
	struct user user;
	char text[32];
	int proc, len;
	pid_t pid;

	if (argc != 2 || fcntl(PIDFD, F_GETFD) < 0) {
		fputs("usage: davit-enter PID (davit-holder runs it)\n", stderr);
		return 2;
	}
	hide();
	read_container(&c);
	read_session(&s);
	close_fd(RECORD, "the container's record");
	close_fd(SESSION, "the exec session's record");
	proc = open_proc();
	leave_host(proc, &c, &s, argv[1]);

	if (s.tty)
		next.terminal = open_terminal(&s.size);
	user = identify(proc, &c, &s, &next.env);
	close_fd(proc, "/proc");
	next.args = s.args;
	next.no_new_privs = c.no_new_privs && !s.privileged;
	if (next.no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail(FAILED, "cannot set no_new_privs: %s", reason());
	if (c.has_umask)
		umask(c.umask);
	set_limits(&c);
	/*
	 * First with all privileges, which reach a directory that the user alone cannot
	 * search; if that fails, once more as the user, who may reach one that root cannot.
	 */
	next.cwd = s.cwd[0] != '\0' ? s.cwd : c.cwd;
	next.in_cwd = chdir(next.cwd) == 0;
	for (int fd = STDIN_FILENO; !s.tty && fd <= STDERR_FILENO; fd++)
		own(fd, user.uid);
	if (s.tty)
		own(next.terminal, user.uid);
	bounding = s.privileged ? c.all_caps : c.caps;
	next.caps = user.uid == 0 ? bounding : 0;
	/* Without no_new_privs a filter is loaded by whoever has CAP_SYS_ADMIN. */
	become(&user, bounding, next.caps | (c.filter.len > 0 && !next.no_new_privs ? 1ULL << CAP_SYS_ADMIN : 0));
	hide(); /* to become another undoes it where fs.suid_dumpable says so */

	pid = fork_sibling();
	if (pid < 0)
		fail(FAILED, "cannot make a process in the container: %s", reason());
	if (pid == 0)
		execute(&next);
	len = snprintf(text, sizeof(text), "%d", pid);
	report(PROGRAM, text, (size_t)len);
	_exit(0);
}
