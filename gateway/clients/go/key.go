package bot

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// tokenLife is how long a token is good for; the gateway takes at most 300 s.
const tokenLife = 240 * time.Second

var b64 = base64.RawURLEncoding

// A JWK is a public Ed25519 key, for POST /v1/bots.
type JWK struct {
	Crv string `json:"crv"`
	Kty string `json:"kty"`
	X   string `json:"x"`
}

// A Key is a bot's Ed25519 private key. It prints as its thumbprint.
type Key struct {
	private    ed25519.PrivateKey
	jwk        JWK
	thumbprint string
}

// GenerateKey makes a new key.
func GenerateKey() (*Key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return newKey(private), nil
}

// ParseKey reads PKCS #8 in PEM (openssl genpkey -algorithm ed25519) or a private JWK.
func ParseKey(text []byte) (*Key, error) {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return parseJWK(text)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("patchbay: the key is neither PEM nor a JWK")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("patchbay: the key: %w", err)
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("patchbay: the key is not an Ed25519 key")
	}
	return newKey(private), nil
}

func parseJWK(text []byte) (*Key, error) {
	var jwk struct{ Crv, D string }
	if err := json.Unmarshal(text, &jwk); err != nil {
		return nil, errors.New("patchbay: the key is not a JWK")
	}
	seed, err := b64.DecodeString(jwk.D)
	if err != nil || jwk.Crv != "Ed25519" || len(seed) != ed25519.SeedSize {
		return nil, errors.New("patchbay: the JWK is not a private Ed25519 key")
	}
	return newKey(ed25519.NewKeyFromSeed(seed)), nil
}

// ReadKey is ParseKey for a file.
func ReadKey(path string) (*Key, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParseKey(text)
}

func newKey(private ed25519.PrivateKey) *Key {
	public := private.Public().(ed25519.PublicKey)
	jwk := JWK{Crv: "Ed25519", Kty: "OKP", X: b64.EncodeToString(public)}
	// RFC 7638: SHA-256 of the required members in order.
	canonical, _ := json.Marshal(jwk)
	sum := sha256.Sum256(canonical)
	return &Key{private: private, jwk: jwk, thumbprint: b64.EncodeToString(sum[:])}
}

// JWK is the public key.
func (k *Key) JWK() JWK { return k.jwk }

// Thumbprint is the RFC 7638 thumbprint, the kid of every token.
func (k *Key) Thumbprint() string { return k.thumbprint }

// PEM is the private key as PKCS #8, to be kept.
func (k *Key) PEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		panic("an Ed25519 key has a form in PKCS #8")
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// Format prints the thumbprint, whatever the verb: the private key is never printed.
func (k *Key) Format(to fmt.State, _ rune) { fmt.Fprintf(to, "Key(%s)", k.thumbprint) }

// Token says "I am this bot" to the gateway at audience, from now for 240 s.
func (k *Key) Token(botID, audience string, now time.Time) string {
	jti := make([]byte, 16)
	// It never fails: crypto/rand ends the program instead.
	_, _ = rand.Read(jti)
	name := "bot:" + botID
	head := map[string]any{"alg": "EdDSA", "kid": k.thumbprint, "typ": "bot+jwt"}
	claims := map[string]any{"aud": audience, "exp": now.Add(tokenLife).Unix(), "iat": now.Unix(), "iss": name, "jti": hex.EncodeToString(jti), "sub": name}
	return k.sign(head, claims)
}

func (k *Key) sign(head, claims any) string {
	first, _ := json.Marshal(head)
	second, _ := json.Marshal(claims)
	signed := b64.EncodeToString(first) + "." + b64.EncodeToString(second)
	return signed + "." + b64.EncodeToString(ed25519.Sign(k.private, []byte(signed)))
}
