package session

import "strings"

// literalEnv is the image's environment with the build's laid over it, in order; what is boxkit's own is left out.
func literalEnv(base []string, over [][2]string) []string {
	at := map[string]int{}
	var env []string
	set := func(name, value string) {
		if strings.HasPrefix(name, "SENTINEL_") || name == "" || strings.ContainsAny(name, "=\x00") {
			return
		}
		pair := name + "=" + strings.ReplaceAll(value, "\x00", "")
		if i, found := at[name]; found {
			env[i] = pair
			return
		}
		at[name] = len(env)
		env = append(env, pair)
	}
	for _, pair := range base {
		name, value, _ := strings.Cut(pair, "=")
		set(name, value)
	}
	for _, pair := range over {
		set(pair[0], pair[1])
	}
	return env
}
