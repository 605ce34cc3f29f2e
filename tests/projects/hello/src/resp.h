#ifndef RESP_H
#define RESP_H

/* Connect to a redis server; -1 where that fails. */
int resp_connect(const char *host, const char *port);

/* Send one inline command whose answer is an integer (":n"); -1 for any other answer. */
long resp_integer(int fd, const char *command);

#endif
