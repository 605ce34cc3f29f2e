/* Counting in redis: three increments of a fresh key give 1, 2, 3. */
#include "resp.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    int fd = argc == 3 ? resp_connect(argv[1], argv[2]) : -1;

    if (fd < 0) {
        fprintf(stderr, "count: no redis at %s:%s\n", argc > 1 ? argv[1] : "?", argc > 2 ? argv[2] : "?");
        return 1;
    }
    if (resp_integer(fd, "DEL visits") < 0)
        return 1;
    for (long want = 1; want <= 3; want++) {
        long got = resp_integer(fd, "INCR visits");
        if (got != want) {
            fprintf(stderr, "count: wanted %ld, got %ld\n", want, got);
            return 1;
        }
    }
    puts("count: 3 visits counted");
    return 0;
}
