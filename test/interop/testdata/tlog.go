// Reads an exported audit log with Go's own transparency log packages, those behind the Go checksum database:
// signatures and cosignatures by sumdb/note, tiles and proofs by sumdb/tlog.
//
// tlog DIRECTORY LOG-KEY WITNESS-KEY PROOF-FILE
package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A key of a type that note itself does not know.
type key struct {
	name   string
	hash   uint32
	verify func(message, signature []byte) bool
}

func (k key) Name() string                            { return k.name }
func (k key) KeyHash() uint32                         { return k.hash }
func (k key) Verify(message, signature []byte) bool { return k.verify(message, signature) }

func parseKey(written string) key {
	parts := strings.SplitN(written, "+", 3)
	hash, err := strconv.ParseUint(parts[1], 16, 32)
	must(err)
	octets, err := base64.StdEncoding.DecodeString(parts[2])
	must(err)
	k := key{name: parts[0], hash: uint32(hash)}
	switch octets[0] {
	case 2:
		public, err := x509.ParsePKIXPublicKey(octets[1:])
		must(err)
		sum := sha256.Sum256(octets[1:])
		if binary.BigEndian.Uint32(sum[:]) != k.hash {
			must(errors.New("the key id of the log is wrong"))
		}
		k.verify = func(message, signature []byte) bool {
			digest := sha256.Sum256(message)
			return ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), digest[:], signature)
		}
	case 4:
		sum := sha256.Sum256(append([]byte(k.name+"\n"), octets...))
		if binary.BigEndian.Uint32(sum[:]) != k.hash {
			must(errors.New("the key id of the witness is wrong"))
		}
		k.verify = func(message, signature []byte) bool {
			if len(signature) != 72 {
				return false
			}
			seconds := binary.BigEndian.Uint64(signature)
			signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s", seconds, message)
			return ed25519.Verify(ed25519.PublicKey(octets[1:]), []byte(signed), signature[8:])
		}
	default:
		must(fmt.Errorf("type of key: %d", octets[0]))
	}
	return k
}

// Tiles of height 8 at the paths of C2SP tlog-tiles, which leave the height out.
type directory string

func (d directory) Height() int                                 { return 8 }
func (d directory) SaveTiles(tiles []tlog.Tile, data [][]byte) {}
func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(d), path))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A checkpoint that the log and the witness signed.
func open(message []byte, keys note.Verifiers) tlog.Tree {
	opened, err := note.Open(message, keys)
	must(err)
	if len(opened.Sigs) != 2 {
		must(fmt.Errorf("%d signatures verified, not the log's and the witness's", len(opened.Sigs)))
	}
	lines := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	hash, err := tlog.ParseHash(lines[2])
	must(err)
	return tlog.Tree{N: size, Hash: hash}
}

func main() {
	keys := note.VerifierList(parseKey(os.Args[2]), parseKey(os.Args[3]))
	message, err := os.ReadFile(filepath.Join(os.Args[1], "checkpoint"))
	must(err)
	tree := open(message, keys)
	reader := tlog.TileHashReader(tree, directory(os.Args[1]))

	var records int64
	for records < tree.N {
		bundle := tlog.Tile{H: 8, L: -1, N: records / 256, W: 256}
		if tree.N-records < 256 {
			bundle.W = int(tree.N - records)
		}
		path := strings.Replace(bundle.Path(), "tile/8/data/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(os.Args[1], path))
		must(err)
		for len(data) > 0 {
			length := int(binary.BigEndian.Uint16(data))
			proof, err := tlog.ProveRecord(tree.N, records, reader)
			must(err)
			must(tlog.CheckRecord(proof, tree.N, tree.Hash, records, tlog.RecordHash(data[2:2+length])))
			data = data[2+length:]
			records++
		}
	}

	for size := int64(1); size <= tree.N; size += 97 {
		root, err := tlog.TreeHash(size, reader)
		must(err)
		proof, err := tlog.ProveTree(tree.N, size, reader)
		must(err)
		must(tlog.CheckTree(proof, tree.N, tree.Hash, size, root))
	}

	// The proof file: header, extra, index, path, an empty line, the checkpoint.
	text, err := os.ReadFile(os.Args[4])
	must(err)
	parts := strings.SplitN(string(text), "\n\n", 2)
	lines := strings.Split(parts[0], "\n")
	if lines[0] != "c2sp.org/tlog-proof@v1" {
		must(errors.New("not a proof"))
	}
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	must(err)
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	must(err)
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		must(err)
		proof = append(proof, hash)
	}
	proven := open([]byte(parts[1]), keys)
	must(tlog.CheckRecord(proof, proven.N, proven.Hash, index, tlog.RecordHash(entry)))

	fmt.Printf("%d entries, proof of %d under %d\n", records, index, proven.N)
}
