package steplog

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"sentinel.wercker.com/boxkit/internal/filetest"
)

func TestALogPastItsLimitKeepsBothEnds(t *testing.T) {
	for name, test := range map[string]struct {
		pieces  []string
		want    string
		dropped int64
	}{
		"short":        {[]string{"abc"}, "abc", 0},
		"just full":    {[]string{"abcde", "fghij"}, "abcdefghij", 0},
		"one too many": {[]string{"abcdefghijk"}, "abcde\n[sentinel: 1 bytes of this log were dropped here]\nghijk", 1},
		"many pieces":  {[]string{"abc", "defg", "hijkl", "mnopqrstuvw", "xyz"}, "abcde\n[sentinel: 16 bytes of this log were dropped here]\nvwxyz", 16},
	} {
		log, err := New(t.TempDir()+"/1", 1, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range test.pieces {
			log.write([]byte(piece))
		}
		facts := log.Finish()
		got := filetest.ReadAll(t, log.path)
		if got != test.want || facts.Dropped != test.dropped || facts.Bytes != int64(len(got)) || facts.SHA256 != sum(got) {
			t.Errorf("%s: %q %+v", name, got, facts)
		}
	}
}

func sum(text string) string {
	digest := sha256.Sum256([]byte(text))
	return hex.EncodeToString(digest[:])
}
