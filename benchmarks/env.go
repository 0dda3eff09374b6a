package main

import (
	"bufio"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// An environment is what a reader must know to run it again.
type environment struct {
	command   string
	cpu       string
	procs     int
	goVersion string
	count     int
}

func newEnvironment(args []string, count int) environment {
	command := "go run ./benchmarks"
	for _, a := range args {
		// Where somebody keeps files is nobody's business.
		if name, value, ok := strings.Cut(a, "="); ok && filepath.IsAbs(value) {
			a = name + "=" + filepath.Base(value)
		} else if filepath.IsAbs(a) {
			a = filepath.Base(a)
		}
		command += " " + a
	}
	return environment{command, cpuName(), runtime.GOMAXPROCS(0), runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, count}
}

// cpuName returns the processor's model where the system tells it.
func cpuName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "a processor of unknown model"
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if name, value, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "a processor of unknown model"
}
