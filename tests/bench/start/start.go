package main

import (
	"os"
	"runtime"
	"sync"
)

func task(in uint64) uint64 {
	return in*6364136223846793005 + 1442695040888963407
}

func main() {
	in := [2]uint64{1, 2}
	var out [2]uint64
	var group sync.WaitGroup

	runtime.GOMAXPROCS(2)
	for i := range in {
		group.Add(1)
		go func(i int) {
			out[i] = task(in[i])
			group.Done()
		}(i)
	}
	group.Wait()
	for i := range in {
		if out[i] != task(in[i]) {
			os.Exit(1)
		}
	}
}
