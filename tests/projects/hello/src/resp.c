#include "resp.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int resp_connect(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *each;
    int fd = -1;

    if (getaddrinfo(host, port, &hints, &found) != 0)
        return -1;
    for (each = found; each != NULL && fd < 0; each = each->ai_next) {
        fd = socket(each->ai_family, each->ai_socktype, each->ai_protocol);
        if (fd >= 0 && connect(fd, each->ai_addr, each->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

long resp_integer(int fd, const char *command)
{
    char answer[64];
    size_t length = strlen(command), have = 0;

    if (write(fd, command, length) != (ssize_t)length || write(fd, "\r\n", 2) != 2)
        return -1;
    while (have < sizeof answer - 1 && memchr(answer, '\n', have) == NULL) {
        ssize_t got = read(fd, answer + have, sizeof answer - 1 - have);
        if (got <= 0)
            return -1;
        have += (size_t)got;
    }
    answer[have] = '\0';
    return answer[0] == ':' ? strtol(answer + 1, NULL, 10) : -1;
}
