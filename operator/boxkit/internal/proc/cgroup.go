package proc

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// Cgroup reads the box's own counters, v2 or v1; what cannot be read is 0. The files stay open: they are read at
// every step boundary.
type Cgroup struct {
	cpu, peak, events *os.File
	cpuKey, eventsKey string
	cpuUnit           float64
}

func OpenCgroup(dir string) *Cgroup {
	c := &Cgroup{}
	open := func(names ...string) *os.File {
		file, err := os.Open(filepath.Join(append([]string{dir}, names...)...))
		if err != nil {
			return nil
		}
		return file
	}
	c.eventsKey = "oom_kill"
	if c.cpu = open("cpu.stat"); c.cpu != nil {
		c.cpuKey, c.cpuUnit = "usage_usec", 1e-6
		c.peak = open("memory.peak")
		c.events = open("memory.events")
		return c
	}
	c.cpu, c.cpuUnit = open("cpuacct", "cpuacct.usage"), 1e-9
	c.peak = open("memory", "memory.max_usage_in_bytes")
	c.events = open("memory", "memory.oom_control")
	return c
}

func (c *Cgroup) CPUSeconds() float64 { return float64(read(c.cpu, c.cpuKey)) * c.cpuUnit }

func (c *Cgroup) PeakMemory() int64 { return read(c.peak, "") }

// OOMKills counts processes of the box that the kernel killed for memory.
func (c *Cgroup) OOMKills() int64 { return read(c.events, c.eventsKey) }

// read returns the number in a file, or the one behind key.
func read(file *os.File, key string) int64 {
	if file == nil {
		return 0
	}
	var buffer [2048]byte
	n, _ := file.ReadAt(buffer[:], 0)
	for line := range bytes.Lines(buffer[:n]) {
		words := bytes.Fields(line)
		if key != "" {
			if len(words) != 2 || string(words[0]) != key {
				continue
			}
			words = words[1:]
		}
		if len(words) == 1 {
			value, _ := strconv.ParseInt(string(words[0]), 10, 64)
			return value
		}
	}
	return 0
}
