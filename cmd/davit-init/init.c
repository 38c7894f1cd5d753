// SPDX-License-Identifier: Apache-2.0

/*
 * Davit-init is the first process of a container that was made with --init. It
 * runs the program, passes on the signals that it is sent, reaps what nobody
 * else waits for, and exits with the program's status: 128+n after signal n.
 *
 *	docker-init [--] PROGRAM [ARGUMENT...]
 *
 * It is C because it stays in each such container's memory, and because it is
 * executed with whatever the image has for a libc: it is linked statically.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a shell exits with when it cannot execute a program. */
enum { NOT_EXECUTABLE = 126, NOT_FOUND = 127 };

static int fatal(const char *what, const char *name)
{
	int err = errno;

	fprintf(stderr, "docker-init: %s %s: %s\n", what, name, strerror(err));
	return err == ENOENT || err == ENOTDIR ? NOT_FOUND : NOT_EXECUTABLE;
}

/* The signals that are a process's own fault are not waited for. */
static void block(sigset_t *waited, sigset_t *before)
{
	static const int own[] = { SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS };

	sigfillset(waited);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(waited, own[i]);
	sigprocmask(SIG_SETMASK, waited, before);
}

/*
 * The program is in a process group of its own, and that is the terminal's:
 * what is typed, ^C say, goes to the program and not to both.
 */
static void become(char **argv, const sigset_t *mask)
{
	setpgid(0, 0);
	/* Until it is in the foreground, SIGTTOU would stop it: it is blocked. */
	if (isatty(STDIN_FILENO))
		tcsetpgrp(STDIN_FILENO, getpgrp());
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(argv[0], argv);
	_exit(fatal("cannot execute", argv[0]));
}

/* Reaps all that have ended; 1 when the program is one of them. */
static int reap(pid_t program, int *code)
{
	int status, ended = 0;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != program)
			continue;
		*code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		ended = 1;
	}
	return ended;
}

int main(int argc, char **argv)
{
	sigset_t waited, before;
	siginfo_t got;
	pid_t program;
	int code = 0;

	argv++;
	if (argc > 1 && strcmp(argv[0], "--") == 0)
		argv++;
	if (argv[0] == NULL) {
		fputs("usage: docker-init [--] PROGRAM [ARGUMENT...]\n", stderr);
		return 2;
	}
	block(&waited, &before);
	program = fork();
	if (program < 0)
		return fatal("cannot fork for", argv[0]);
	if (program == 0)
		become(argv, &before);
	for (;;) {
		if (sigwaitinfo(&waited, &got) < 0)
			continue; /* EINTR, after a stop */
		switch (got.si_signo) {
		case SIGCHLD:
			if (reap(program, &code))
				return code;
			break;
		case SIGTTIN:
		case SIGTTOU: /* our own, not the program's */
			break;
		default:
			kill(program, got.si_signo); /* it may have ended: it is reaped next */
		}
	}
}
