// SPDX-License-Identifier: Apache-2.0

/*
 * Finds users for the tests, which compare what is found with what the monitor
 * finds: find PASSWD GROUP, the two files' contents, and on standard input
 * lines USER[:GROUP] [EXTRA...]. For each it prints a line.
 */

#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

#include "../enter.h"

int main(int argc, char **argv)
{
	struct accounts accounts;
	char line[4096];

	if (argc != 3)
		return 2;
	accounts.passwd = (struct slice){ argv[1], strlen(argv[1]) };
	accounts.group = (struct slice){ argv[2], strlen(argv[2]) };
	while (fgets(line, sizeof(line), stdin) != NULL) {
		char *extra[16], *rest = line, *spec, *err;
		size_t n = 0;
		struct user u;
		struct slice home;

		line[strcspn(line, "\n")] = '\0';
		spec = strsep(&rest, " ");
		while (n < 15 && (extra[n] = strsep(&rest, " ")) != NULL)
			n++;
		extra[n] = NULL;
		err = find_user(&accounts, spec, extra, &u);
		if (err != NULL) {
			printf("error: %s\n", err);
			continue;
		}
		printf("%u %u [", u.uid, u.gid);
		for (size_t i = 0; i < u.count; i++)
			printf("%s%u", i ? " " : "", u.groups[i]);
		home = find_home(&accounts, u.uid);
		printf("] %.*s\n", (int)home.len, home.at);
	}
	return 0;
}
