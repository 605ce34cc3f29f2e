#include <stdio.h>
#include <string.h>

int main(void)
{
    char version[32] = "unknown";
    FILE *file = fopen("/etc/hello.version", "r");

    if (file != NULL) {
        if (fgets(version, sizeof version, file) != NULL)
            version[strcspn(version, "\n")] = '\0';
        fclose(file);
    }
    printf("hello from version %s, built by wercker\n", version);
    return 0;
}
