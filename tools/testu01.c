/* TestU01 (L'Ecuyer and Simard, ACM TOMS 33, 2007) on 32-bit words from standard input:
 * testu01 SmallCrush | Crush | Rabbit BITS.
 * After all that TestU01 prints itself, a line for each statistic: name|number|p, the way dieharder prints it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <testu01/bbattery.h>
#include <testu01/swrite.h>
#include <testu01/unif01.h>

static unsigned int next_word(void)
{
    static unsigned int words[1 << 14];
    static size_t used, held;
    if (used == held) {
        held = fread(words, sizeof *words, sizeof words / sizeof *words, stdin);
        used = 0;
        if (held == 0) {
            fputs("testu01: the input ended\n", stderr);
            exit(1);
        }
    }
    return words[used++];
}

int main(int argc, char **argv)
{
    const char *battery = argc > 1 ? argv[1] : "";
    double bits = argc > 2 ? atof(argv[2]) : 0;
    unif01_Gen *gen = unif01_CreateExternGenBits("stdin", next_word);
    swrite_Basic = 0; /* only the summary */
    if (!strcmp(battery, "SmallCrush") && argc == 2) {
        bbattery_SmallCrush(gen);
    } else if (!strcmp(battery, "Crush") && argc == 2) {
        bbattery_Crush(gen);
    } else if (!strcmp(battery, "Rabbit") && bits >= 500) {
        bbattery_Rabbit(gen, bits);
    } else {
        fputs("usage: testu01 SmallCrush | Crush | Rabbit BITS, with at least 500 bits\n", stderr);
        return 2;
    }
    for (int i = 0; i < bbattery_NTests; i++) {
        printf("%s|%d|%.17g\n", bbattery_TestNames[i], i + 1, bbattery_pVal[i]);
    }
    unif01_DeleteExternGenBits(gen);
    return 0;
}
