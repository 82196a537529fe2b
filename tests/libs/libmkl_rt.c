/* libmkl_rt.c - stands in for Intel's, which Debian has not: a number of threads for the process,
 * and one for each thread, where 0 is none. */
#define HERE __attribute__((visibility("default")))

HERE int MKL_Set_Num_Threads_Local(int n);
HERE int MKL_Get_Max_Threads(void);

static const int of_process = 6;
static _Thread_local int of_thread;

HERE int MKL_Set_Num_Threads_Local(int n)
{
	int before = of_thread;

	of_thread = n;
	return before;
}

HERE int MKL_Get_Max_Threads(void)
{
	return of_thread > 0 ? of_thread : of_process;
}
