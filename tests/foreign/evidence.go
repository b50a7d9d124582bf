// Reads notes, proofs and tiles with the packages of the Go project that the formats come from, sumdb/note and
// sumdb/tlog of golang.org/x/mod. Each line of standard input is a question as JSON, each line of output its answer:
// {"ok":true,...}, or {"ok":false,"error":...}. tests/server/helpers_foreign.py asks.
package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Op      string            `json:"op"`
	Note    []byte            `json:"note"` // base64, as all []byte
	Keys    []string          `json:"keys"`
	Entry   string            `json:"entry"` // hex, as all hashes
	Leaf    string            `json:"leaf"`
	Index   int64             `json:"index"`
	Size    int64             `json:"size"`
	Root    string            `json:"root"`
	Old     int64             `json:"old"`
	OldRoot string            `json:"old_root"`
	Proof   []string          `json:"proof"`
	Tiles   map[string][]byte `json:"tiles"`
	Skey    string            `json:"skey"`
	Text    string            `json:"text"`
}

type answer struct {
	OK    bool     `json:"ok"`
	Error string   `json:"error,omitempty"`
	Text  string   `json:"text,omitempty"`
	Names []string `json:"names,omitempty"`
	Proof []string `json:"proof,omitempty"`
	Hash  string   `json:"hash,omitempty"`
}

// cosigner is a witness's key, type 0x04: the note package has only the log's, type 0x01.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }
func (c *cosigner) Verify(msg, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(sig[:8]), msg)
	return ed25519.Verify(c.key, []byte(message), sig[8:])
}

func verifier(vkey string) (note.Verifier, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return nil, errors.New("malformed key")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 33 || key[0] != 4 {
		return note.NewVerifier(vkey)
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if hex.EncodeToString(sum[:4]) != parts[1] {
		return nil, errors.New("key id of another key")
	}
	return &cosigner{parts[0], binary.BigEndian.Uint32(sum[:4]), key[1:]}, nil
}

func hash(text string) (h tlog.Hash, err error) {
	data, err := hex.DecodeString(text)
	if err == nil && len(data) != len(h) {
		err = errors.New("not a hash")
	}
	copy(h[:], data)
	return h, err
}

func hashes(texts []string) ([]tlog.Hash, error) {
	var list []tlog.Hash
	for _, text := range texts {
		h, err := hash(text)
		if err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, nil
}

func hexes(list []tlog.Hash) []string {
	var texts []string
	for _, h := range list {
		texts = append(texts, hex.EncodeToString(h[:]))
	}
	return texts
}

// tiles reads tiles of height 8 by their paths of c2sp.org/tlog-tiles, which leave the height out.
type tiles map[string][]byte

func (t tiles) Height() int { return 8 }
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range wanted {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		content, ok := t[path]
		if !ok {
			return nil, fmt.Errorf("no tile %s", path)
		}
		data = append(data, content)
	}
	return data, nil
}
func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func open(q question) (a answer, err error) {
	var known []note.Verifier
	for _, vkey := range q.Keys {
		v, err := verifier(vkey)
		if err != nil {
			return a, err
		}
		known = append(known, v)
	}
	n, err := note.Open(q.Note, note.VerifierList(known...))
	if err != nil {
		return a, err
	}
	a.Text = n.Text
	for _, sig := range n.Sigs {
		a.Names = append(a.Names, sig.Name)
	}
	return a, nil
}

func inclusion(q question) error {
	leaf, err := hash(q.Leaf)
	if err != nil {
		return err
	}
	root, err := hash(q.Root)
	if err != nil {
		return err
	}
	proof, err := hashes(q.Proof)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, q.Size, root, q.Index, leaf)
}

func consistency(q question) error {
	oldRoot, err := hash(q.OldRoot)
	if err != nil {
		return err
	}
	root, err := hash(q.Root)
	if err != nil {
		return err
	}
	proof, err := hashes(q.Proof)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, q.Size, root, q.Old, oldRoot)
}

// prove makes the proofs of one event and of an older size from tiles alone, which the root authenticates.
func prove(q question) (a answer, err error) {
	root, err := hash(q.Root)
	if err != nil {
		return a, err
	}
	reader := tlog.TileHashReader(tlog.Tree{N: q.Size, Hash: root}, tiles(q.Tiles))
	record, err := tlog.ProveRecord(q.Size, q.Index, reader)
	if err != nil {
		return a, err
	}
	leaf, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, q.Index)})
	if err != nil {
		return a, err
	}
	a.Proof, a.Hash = hexes(record), hex.EncodeToString(leaf[0][:])
	if q.Old > 0 {
		tree, err := tlog.ProveTree(q.Size, q.Old, reader)
		if err != nil {
			return a, err
		}
		a.Names = hexes(tree)
	}
	return a, nil
}

func sign(q question) (a answer, err error) {
	signer, err := note.NewSigner(q.Skey)
	if err != nil {
		return a, err
	}
	signed, err := note.Sign(&note.Note{Text: q.Text}, signer)
	a.Text = string(signed)
	return a, err
}

func ask(line []byte) (a answer, err error) {
	var q question
	if err := json.Unmarshal(line, &q); err != nil {
		return a, err
	}
	switch q.Op {
	case "open":
		return open(q)
	case "inclusion":
		return a, inclusion(q)
	case "consistency":
		return a, consistency(q)
	case "prove":
		return prove(q)
	case "sign":
		return sign(q)
	case "leaf":
		entry, err := hex.DecodeString(q.Entry)
		leaf := tlog.RecordHash(entry)
		a.Hash = hex.EncodeToString(leaf[:])
		return a, err
	}
	return a, errors.New("unknown op")
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			return
		}
		a, failed := ask(line)
		if a.OK = failed == nil; failed != nil {
			a = answer{Error: failed.Error()}
		}
		if out.Encode(a) != nil {
			os.Exit(1)
		}
	}
}
