/* helper.c - the program of a worker; its socket is its standard input. */
#include "served.h"

int main(void)
{
	serve(STDIN_FILENO);
	return 0;
}
