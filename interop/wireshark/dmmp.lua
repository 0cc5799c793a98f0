-- DMMP in Wireshark: every message and field, what breaks a rule, which answer belongs to which
-- request, and with a key log what was sealed.
--
-- Written from spec-notes/messages.md and spec-notes/security.md, in their order and their words.
-- One file without dependencies, for Wireshark 4.0 and later (Lua 5.2 to 5.4). It judges single
-- datagrams and pairs of them; whether a host behaves as it should is for `dmmp conformance`.
--
-- Contents: 1 ciphers, 2 key log, 3 what the messages are, 4 faults, 5 Wireshark's fields,
-- 6 reading, 7 rules beyond single fields, 8 elements, 9 data, 10 sealed, 11 requests and
-- responses, 12 datagrams, 13 Wireshark.

local HEADER_BYTES, VERSION, STUN_COOKIE = 24, 1, 0x2112A442
local TAG_BYTES, SIGNATURE_BYTES, DIGEST_BYTES, MOST_DIGESTS = 16, 64, 16, 76

-----------------------------------------------------------------------------------------------
-- 1  Ciphers: AES-256-GCM, and HKDF-Expand with SHA-256
--
-- Wireshark 4.0 gives Lua no cipher, so they are here, in plain Lua. They only open what a key log
-- has the keys for, on the reader's own machine: nothing here runs in constant time.

local bits = bit32
if not bits then
  -- Lua 5.3 has operators instead, which 5.2 could not even parse: hence the text.
  bits = load([[return {
    band = function(a, b) return a & b end,
    bor = function(a, b) return a | b end,
    bnot = function(a) return ~a & 0xFFFFFFFF end,
    bxor = function(a, b, c, d, e) return a ~ b ~ (c or 0) ~ (d or 0) ~ (e or 0) end,
    lshift = function(a, n) return a << n & 0xFFFFFFFF end,
    rshift = function(a, n) return a >> n end,
    rrotate = function(a, n) return (a >> n | a << 32 - n) & 0xFFFFFFFF end,
    extract = function(a, n, width) return a >> n & (1 << width) - 1 end,
  }]])()
end
local band, bor, bnot, bxor = bits.band, bits.bor, bits.bnot, bits.bxor
local lshift, rshift, rrotate, extract = bits.lshift, bits.rshift, bits.rrotate, bits.extract

local function word_at(text, at)
  local a, b, c, d = text:byte(at, at + 3)
  return a * 0x1000000 + b * 0x10000 + c * 0x100 + d
end

local function bytes_of(word)
  return string.char(extract(word, 24, 8), extract(word, 16, 8), extract(word, 8, 8),
                     extract(word, 0, 8))
end

local function from_hex(text)
  return (text:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- SHA-256 (RFC 6234). Its constants are the fractions of roots of the first primes.
local sha_start, sha_round = {}, {}
do
  local function fraction(value) return math.floor(value % 1 * 0x100000000) end
  local candidate = 2
  while #sha_round < 64 do
    local is_prime = true
    for divisor = 2, math.floor(candidate ^ 0.5) do
      if candidate % divisor == 0 then is_prime = false break end
    end
    if is_prime then
      if #sha_start < 8 then sha_start[#sha_start + 1] = fraction(candidate ^ 0.5) end
      sha_round[#sha_round + 1] = fraction(candidate ^ (1 / 3))
    end
    candidate = candidate + 1
  end
end

local function sha256(text)
  local length = #text
  text = text .. "\128" .. string.rep("\0", (55 - length) % 64) .. "\0\0\0\0"
    .. bytes_of(length * 8)
  local state = {table.unpack(sha_start)}
  local w = {}
  for at = 1, #text, 64 do
    for i = 1, 16 do w[i] = word_at(text, at + 4 * i - 4) end
    for i = 17, 64 do
      local x, y = w[i - 15], w[i - 2]
      local s0 = bxor(rrotate(x, 7), rrotate(x, 18), rshift(x, 3))
      local s1 = bxor(rrotate(y, 17), rrotate(y, 19), rshift(y, 10))
      w[i] = band(w[i - 16] + s0 + w[i - 7] + s1, 0xFFFFFFFF)
    end
    local a, b, c, d, e, f, g, h = table.unpack(state)
    for i = 1, 64 do
      local s1 = bxor(rrotate(e, 6), rrotate(e, 11), rrotate(e, 25))
      local t1 = h + s1 + bxor(band(e, f), band(bnot(e), g)) + sha_round[i] + w[i]
      local s0 = bxor(rrotate(a, 2), rrotate(a, 13), rrotate(a, 22))
      local t2 = s0 + bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e = g, f, e, band(d + t1, 0xFFFFFFFF)
      d, c, b, a = c, b, a, band(t1 + t2, 0xFFFFFFFF)
    end
    for i, value in ipairs({a, b, c, d, e, f, g, h}) do
      state[i] = band(state[i] + value, 0xFFFFFFFF)
    end
  end
  for i = 1, 8 do state[i] = bytes_of(state[i]) end
  return table.concat(state)
end

-- Expand(key, info) of security.md: HKDF-Expand (RFC 5869), 32 bytes, which is one HMAC.
local function expand(key, info)
  local function padded(byte)
    return (key:gsub(".", function(each) return string.char(bxor(each:byte(), byte)) end))
      .. string.rep(string.char(byte), 64 - #key)
  end
  return sha256(padded(0x5c) .. sha256(padded(0x36) .. info .. "\1"))
end

-- AES (FIPS 197) by tables: the S-box, and the S-box with the columns mixed.
local sbox, mixed = {}, {{}, {}, {}, {}}
do
  local function double(x) return bxor(lshift(x, 1), x >= 128 and 0x11B or 0) end
  local p, q = 1, 1
  repeat -- p runs through all powers of 3, q through their inverses
    p = bxor(p, double(p))
    q = bxor(q, lshift(q, 1))
    q = bxor(q, lshift(q, 2))
    q = band(bxor(q, lshift(q, 4)), 0xFF)
    if q >= 128 then q = bxor(q, 0x09) end
    local spread = bxor(q, lshift(q, 1), lshift(q, 2), lshift(q, 3), lshift(q, 4))
    sbox[p] = bxor(band(spread, 0xFF), rshift(spread, 8), 0x63)
  until p == 1
  sbox[0] = 0x63
  for x = 0, 255 do
    local s = sbox[x]
    local column = double(s) * 0x1000000 + s * 0x10000 + s * 0x100 + bxor(double(s), s)
    for row = 1, 4 do mixed[row][x] = rrotate(column, 8 * (row - 1)) end
  end
end

local function substituted(word)
  return sbox[extract(word, 24, 8)] * 0x1000000 + sbox[extract(word, 16, 8)] * 0x10000
    + sbox[extract(word, 8, 8)] * 0x100 + sbox[extract(word, 0, 8)]
end

local function round_keys(key) -- of 32 bytes: 15 rounds of four words
  local w, constant = {}, 1
  for i = 0, 7 do w[i] = word_at(key, 4 * i + 1) end
  for i = 8, 59 do
    local word = w[i - 1]
    if i % 8 == 0 then
      word = bxor(substituted(rrotate(word, 24)), lshift(constant, 24))
      constant = constant * 2
    elseif i % 8 == 4 then
      word = substituted(word)
    end
    w[i] = bxor(w[i - 8], word)
  end
  return w
end

local function encrypted(w, a, b, c, d)
  local m1, m2, m3, m4 = mixed[1], mixed[2], mixed[3], mixed[4]
  a, b, c, d = bxor(a, w[0]), bxor(b, w[1]), bxor(c, w[2]), bxor(d, w[3])
  for i = 4, 52, 4 do
    a, b, c, d =
      bxor(m1[extract(a, 24, 8)], m2[extract(b, 16, 8)], m3[extract(c, 8, 8)],
           m4[extract(d, 0, 8)], w[i]),
      bxor(m1[extract(b, 24, 8)], m2[extract(c, 16, 8)], m3[extract(d, 8, 8)],
           m4[extract(a, 0, 8)], w[i + 1]),
      bxor(m1[extract(c, 24, 8)], m2[extract(d, 16, 8)], m3[extract(a, 8, 8)],
           m4[extract(b, 0, 8)], w[i + 2]),
      bxor(m1[extract(d, 24, 8)], m2[extract(a, 16, 8)], m3[extract(b, 8, 8)],
           m4[extract(c, 0, 8)], w[i + 3])
  end
  local function last(p, q, r, s, key)
    return bxor(sbox[extract(p, 24, 8)] * 0x1000000 + sbox[extract(q, 16, 8)] * 0x10000
                + sbox[extract(r, 8, 8)] * 0x100 + sbox[extract(s, 0, 8)], key)
  end
  return last(a, b, c, d, w[56]), last(b, c, d, a, w[57]), last(c, d, a, b, w[58]),
    last(d, a, b, c, w[59])
end

-- GHASH (NIST SP 800-38D), a byte at a time: `products` holds the key times every byte. Bits are
-- mirrored there, so to multiply by x is to shift right, and what falls out comes back as `folded`.
local folded = {}
for byte = 0, 255 do
  local word = byte
  for _ = 1, 8 do
    word = bxor(rshift(word, 1), band(word, 1) == 1 and 0xE1000000 or 0)
  end
  folded[byte] = word
end

local function products_of(a, b, c, d)
  local p = {[0] = {0, 0, 0, 0}, [128] = {a, b, c, d}}
  local power = 64
  while power >= 1 do
    local carry = band(d, 1) == 1 and 0xE1000000 or 0
    d = bor(rshift(d, 1), lshift(band(c, 1), 31))
    c = bor(rshift(c, 1), lshift(band(b, 1), 31))
    b = bor(rshift(b, 1), lshift(band(a, 1), 31))
    a = bxor(rshift(a, 1), carry)
    p[power] = {a, b, c, d}
    power = rshift(power, 1)
  end
  for i = 1, 7 do
    local high = lshift(1, i)
    for low = 1, high - 1 do
      local x, y = p[high], p[low]
      p[high + low] = {bxor(x[1], y[1]), bxor(x[2], y[2]), bxor(x[3], y[3]), bxor(x[4], y[4])}
    end
  end
  return p
end

local function ghash(products, text) -- `text` is so many whole blocks
  local a, b, c, d = 0, 0, 0, 0
  for at = 1, #text, 16 do
    a, b = bxor(a, word_at(text, at)), bxor(b, word_at(text, at + 4))
    c, d = bxor(c, word_at(text, at + 8)), bxor(d, word_at(text, at + 12))
    local block = {a, b, c, d}
    a, b, c, d = 0, 0, 0, 0
    for i = 4, 1, -1 do
      local word = block[i]
      for shift = 0, 24, 8 do
        local fallen = folded[extract(d, 0, 8)]
        local p = products[extract(word, shift, 8)]
        d = bxor(rshift(d, 8), lshift(extract(c, 0, 8), 24), p[4])
        c = bxor(rshift(c, 8), lshift(extract(b, 0, 8), 24), p[3])
        b = bxor(rshift(b, 8), lshift(extract(a, 0, 8), 24), p[2])
        a = bxor(rshift(a, 8), fallen, p[1])
      end
    end
  end
  return a, b, c, d
end

local function cipher_of(key) -- what is worth keeping for each key
  local w = round_keys(key)
  return {keys = w, products = products_of(encrypted(w, 0, 0, 0, 0))}
end

local function blocks_of(text) return text .. string.rep("\0", -#text % 16) end

-- Gives the plaintext, or nil if the tag does not hold.
local function gcm_open(cipher, nonce, associated, ciphertext, tag)
  local w = cipher.keys
  local a, b, c, d = ghash(cipher.products, blocks_of(associated) .. blocks_of(ciphertext)
    .. "\0\0\0\0" .. bytes_of(#associated * 8) .. "\0\0\0\0" .. bytes_of(#ciphertext * 8))
  local n1, n2, n3 = word_at(nonce, 1), word_at(nonce, 5), word_at(nonce, 9)
  local e, f, g, h = encrypted(w, n1, n2, n3, 1)
  local computed = bytes_of(bxor(a, e)) .. bytes_of(bxor(b, f)) .. bytes_of(bxor(c, g))
    .. bytes_of(bxor(d, h))
  if computed ~= tag then return nil end
  local whole, found = blocks_of(ciphertext), {}
  for at = 1, #whole, 16 do
    e, f, g, h = encrypted(w, n1, n2, n3, (at - 1) / 16 + 2)
    found[#found + 1] = bytes_of(bxor(word_at(whole, at), e))
      .. bytes_of(bxor(word_at(whole, at + 4), f)) .. bytes_of(bxor(word_at(whole, at + 8), g))
      .. bytes_of(bxor(word_at(whole, at + 12), h))
  end
  return table.concat(found):sub(1, #ciphertext)
end

-----------------------------------------------------------------------------------------------
-- 2  Key log (security.md, "Key log")

-- `ciphers[index]` are the keys for what is addressed to an association's index, `secrets[name]`
-- those of an origin's epoch. Numbers come round again, so each name may have several.
local key_log = {path = "", read_bytes = 0, ciphers = {}, secrets = {}, opened = {}, count = 0}

local MOST_OPENED = 20000 -- plaintexts that are kept: relays pass the same datagram on

function key_log.forget()
  key_log.read_bytes, key_log.ciphers, key_log.secrets = 0, {}, {}
  key_log.opened, key_log.count = {}, 0
end

local function add_key(keys, name, key)
  keys[name] = keys[name] or {}
  for _, held in ipairs(keys[name]) do
    if held.key == key then return end
  end
  table.insert(keys[name], {key = key})
end

local function take_line(line)
  local index, key, other_index, other_key =
    line:match("^DMMP_ASSOCIATION (%x+) (%x+) (%x+) (%x+)%s*$")
  if index and #key == 64 and #other_key == 64 then
    add_key(key_log.ciphers, tonumber(index, 16), from_hex(key))
    add_key(key_log.ciphers, tonumber(other_index, 16), from_hex(other_key))
  end
  local session, origin, epoch, secret = line:match("^DMMP_EPOCH (%x+) (%x+) (%x+) (%x+)%s*$")
  if session and #secret == 64 then
    local name = string.format("%08x %08x %02x", tonumber(session, 16), tonumber(origin, 16),
                               tonumber(epoch, 16) % 256)
    add_key(key_log.secrets, name, from_hex(secret))
  end
end

-- Reads what was added since the last time: a running node goes on writing.
function key_log.read()
  local file = key_log.path ~= "" and io.open(key_log.path, "rb")
  if not file then return end
  file:seek("set", key_log.read_bytes)
  local added = file:read("*a") or ""
  file:close()
  local whole = added:match("^.*\n") or ""
  key_log.read_bytes = key_log.read_bytes + #whole
  for line in whole:gmatch("[^\r\n]+") do take_line(line) end
end

local function held(kind, name)
  if not key_log[kind][name] then key_log.read() end
  return key_log[kind][name]
end

-- Gives plaintext, or nil and whether there was a key at all.
local function open_with(keys, derive, datagram, nonce, header, ciphertext, tag)
  if key_log.opened[datagram] then return key_log.opened[datagram] end
  if not keys then return nil, false end
  for _, each in ipairs(keys) do
    local plain = gcm_open(derive(each), nonce, header, ciphertext, tag)
    if plain then
      if key_log.count >= MOST_OPENED then key_log.opened, key_log.count = {}, 0 end
      key_log.opened[datagram], key_log.count = plain, key_log.count + 1
      return plain
    end
  end
  return nil, true
end

local function of_association(each)
  each.cipher = each.cipher or cipher_of(each.key)
  return each.cipher
end

-- Sealed and HopSealed: the nonce is four zero bytes and the counter, whose low half comes first.
local function open_sealed(datagram)
  local header, at_tag = datagram:sub(1, HEADER_BYTES), #datagram - TAG_BYTES
  local nonce = "\0\0\0\0" .. header:sub(17, 20) .. header:sub(13, 16)
  return open_with(held("ciphers", word_at(header, 9)), of_association, datagram, nonce, header,
                   datagram:sub(HEADER_BYTES + 1, at_tag), datagram:sub(at_tag + 1))
end

-- Data: every origin, epoch, channel and 2^20 sequence numbers have a key of their own.
local function open_data(datagram, tail)
  local header, at_tag = datagram:sub(1, HEADER_BYTES), #datagram - tail - TAG_BYTES
  local origin = header:sub(5, 12)
  local name = string.format("%08x %08x %02x", word_at(origin, 1), word_at(origin, 5),
                             header:byte(18))
  local block = rshift(word_at(header, 13), 20)
  local info = "dmmp data" .. origin .. header:sub(18, 20)
    .. string.char(rshift(block, 8), band(block, 0xFF))
  local function of_packets(each)
    each.ciphers = each.ciphers or {}
    each.ciphers[info] = each.ciphers[info] or cipher_of(expand(each.key, info))
    return each.ciphers[info]
  end
  return open_with(held("secrets", name), of_packets, datagram, header:sub(9, 20), header,
                   datagram:sub(HEADER_BYTES + 1, at_tag),
                   datagram:sub(at_tag + 1, at_tag + TAG_BYTES))
end

-----------------------------------------------------------------------------------------------
-- 3  What the messages are (messages.md)

-- Types of fields.
local u8, u16 = {kind = "uint", size = 1}, {kind = "uint", size = 2}
local u32, u64 = {kind = "uint", size = 4}, {kind = "uint", size = 8}
local id = {kind = "uint", size = 4, id = true} -- of a host that must be there: not 0
local address = {kind = "address", size = 16}
local function named(names, size) return {kind = "uint", size = size or 1, names = names} end
local function text(most) return {kind = "text", most = most} end
local function octets(most, inner) return {kind = "octets", most = most, inner = inner} end
local function bytes(size) return {kind = "bytes", size = size} end
local function all_but(behind) return {kind = "bytes", behind = behind} end
local function list(element, most) return {kind = "list", element = element, most = most} end
local function record(name, fields) return {kind = "record", name = name, fields = fields} end

-- Names of values. `other` is what an unknown one stands for, nil where it is refused.
local Status = {other = "REFUSED", [0] = "SUCCESS", "REFUSED", "FULL", "LOOP", "UNKNOWN_SESSION",
  "UNKNOWN_HOST", "NOT_JOINED", "NOT_SUPER_NODE", "DUPLICATE_SOURCE", "NO_SOURCE", "INCAPABLE"}
local HostFlag = {bits = true, [0] = "NONE", [1] = "SOURCE", [2] = "SUPER_NODE", [4] = "RELAY_ONLY",
  [8] = "OFFERS", [16] = "FED", [32] = "ORDINARY", [64] = "EXCHANGES"}
local Phase = {other = "RUNNING", [0] = "BUILDING", "RUNNING"}
local HostState = {other = "INACTIVE", [0] = "ACTIVE", "LEAVING", "INACTIVE"}
local LeaveReason = {other = "SHUTDOWN", [0] = "SHUTDOWN", "MOVED", "DECLINED", "DISMISSED",
  "HANDOVER"}
local RefreshKind = {other = "HOST", [0] = "CHILD", "PARENT", "MESH", "SOURCE", "HOST", "RELATIVE"}
local ErrorCode = {other = "something for people only", [0] = "UNKNOWN_OPTION", "UNKNOWN_TLV",
  "UNKNOWN_SESSION", "NOT_ALLOWED"}
local Capability = {bits = true, [0] = "NONE", [1] = "MEMBER", [2] = "SUPER_NODE", [4] = "SOURCE",
  [8] = "RENDEZVOUS_POINT", [16] = "AUTHORITY"}
local FilterMode = {[0] = "INCLUDE", "EXCLUDE"}
local Element = {[0x8001] = "PADDING", [0x8002] = "NAME", [0x8003] = "SIGNATURE"}
local PADDING, NAME, SIGNATURE = 0x8001, 0x8002, 0x8003
local MOST_ELEMENTS, MOST_INTRODUCTIONS, INTRODUCTION_BYTES = 16, 64, 33

-- Records. The third word of a field is what it means; the fourth, of a HostRecord, whether there
-- must be a host: "there" always, "success" if the message says SUCCESS; else host 0 is "none".
local Endpoint = record("endpoint", {
  {"address", address, "IP address"},
  {"port", u16, "UDP port"},
})
local HostRecord = record("HostRecord", {
  {"host", u32, "id within the session"},
  {"endpoint", Endpoint, "where it receives datagrams"},
  {"flags", named(HostFlag), "what the host is and offers"},
  {"depth", u8, "hops below the source; 255 = not joined"},
  {"out_degree", u16, "maximum out-degree"},
  {"free_slots", u16, "free places in its whole subtree (Decision 14)"},
  {"uptime", u32, "seconds since the host was started"},
  {"delay_us", u32, "one-way delay from the source, microseconds; 0 = unknown"},
})
local LinkRecord = record("LinkRecord", {
  {"neighbour", id, "the super node at the other end"},
  {"delay_us", u32, "round-trip time, microseconds"},
})
local Interest = record("Interest", {
  {"group", address, "group address"},
  {"mode", named(FilterMode), "how the sources are meant"},
  {"sources", list(address, 16), "source addresses"},
})
local PathKey = record("PathKey", {
  {"node", u32, "place in the tree: level 8 bits, index 24 bits"},
  {"version", u32, "epoch it was made in, plus the ratchets since"},
  {"key", bytes(32), "the key"},
})
local KeyWrap = record("KeyWrap", {
  {"under", u32, "node whose key seals it"},
  {"version", u32, "version of that key"},
  {"sealed", bytes(48), "AES-256-GCM: the key, and the tag"},
})
local KeyRenewal = record("KeyRenewal", {
  {"node", u32, "place in the tree"},
  {"wraps", list(KeyWrap, 4), "the fresh key, once for each child"},
})

-- What a certificate permits (security.md, "Certificate"), and what stands before it there: the
-- identifier 2.25.207133978391716109281991689872162480950.1 in DER, critical, an octet string.
local Grant = record("Grant", {
  {"capabilities", named(Capability, 4), "what its holder may do"},
  {"out_degree", u16, "most children it may claim"},
  {"bandwidth", u64, "most bandwidth it may claim, bit/s"},
  {"session", text(64), "the one session it is for"},
  {"static_key", octets(32), "X25519 public key"},
  {"groups", list(address, 16), "groups that it may send to; none: all"},
})
local GRANT = from_hex("6982b7d4c6e6e4b4ead1afafb9a4ba8ec3f3c636010101ff04")

-- Messages by option. What is said of a message's header:
--   session   nil: never 0; "none": always 0; "any": 0 where it is not known
--   source    nil: an id, or 0 for "no id yet"; "some": never 0; "none": always 0
--   reserved  nil: 0; "channel": flags, key epoch and channel; "counter": high half of a counter
--   still     tree version, too, is 0: it stands outside of any session
-- `bare` are those that can have no elements. `answers` names the requests that a response answers.
local messages = {}

local function message(option, name, what, fields)
  local snake = name:gsub("(%l)(%u)", "%1_%2"):lower()
  what.option, what.name, what.path, what.fields = option, name, "dmmp." .. snake, fields
  messages[option] = what
end

local host_path = {"root_path", list(id, 64), "ids from it up to the source (Decision 17)"}
local result = {"status", named(Status), "result"}
local certificate = {"certificate", octets(1024, "certificate"), "X.509, DER"}
local macs = {
  {"mac1", bytes(16), "keyed hash: the sender knows the receiver's key"},
  {"mac2", bytes(16), "keyed hash under a cookie: it is where it says; or zero"},
}
local seal = {
  {"ciphertext", all_but(16), "AES-256-GCM"},
  {"tag", bytes(16), "shows that nothing was changed"},
}

-- Data plane
message(0x0000, "Data", {source = "some", reserved = "channel", bare = true}, {
  {"payload", all_but(0), "a whole IPv4 or IPv6 packet"},
})
message(0x0001, "Heartbeat", {source = "some", reserved = "channel"}, {
  {"group", address, "group the channel carries"},
  {"origin_address", address, "source address of its IP packets"},
  {"highest", u32, "sequence number of the newest data packet"},
  {"started", u8, "0 = nothing sent yet: `highest` is the number before the first; 1 = it was sent"},
})
message(0x0002, "Credential", {source = "some"}, {certificate})
message(0x00C0, "DataRequest", {}, {
  {"origin", u32, "origin of the channel; 0 = every channel"},
  {"channel", u16, "channel number"},
  {"base", u32, "first sequence number meant"},
  {"bitmap", octets(128), "missing ones"},
})
message(0x00F0, "Error", {session = "any"}, {
  {"code", named(ErrorCode), "why it was not understood"},
  {"option", u16, "option of the offending message"},
  {"offset", u16, "byte offset of the fault in it"},
  {"text", text(128), "for people"},
})

-- Bootstrap
message(0x0010, "SubscriptionRequest", {session = "none", source = "none"}, {
  {"group_name", text(64), "the session's name, UTF-8"},
  {"domain", text(255), "domain of the group, may be empty"},
})
message(0x0011, "SubscriptionResponse", {session = "any", answers = {0x0010}}, {
  result,
  {"lifetime", u32, "seconds the answer may be cached"},
  {"rendezvous_points", list(Endpoint, 8), "RPs of the session; empty = the one that answers"},
})
message(0x0020, "PingRpRequest", {}, {
  {"instance", u64, "random number of this start of the host: same host, same id"},
  {"host", HostRecord, "what the sender is and offers"},
  {"refused", list(id, 12), "super nodes that had no place for it"},
})
message(0x0021, "PingRpResponse", {answers = {0x0020}}, {
  result,
  {"phase", named(Phase), "is the overlay being built?"},
  {"host", u32, "the id given to the sender"},
  {"observed", Endpoint, "the address the request came from"},
  {"hosts", u32, "hosts registered in the session"},
  {"super_nodes", list(HostRecord, 12), "candidates with uptime and out-degree"},
})
message(0x0030, "SourceRequest", {}, {{"host", HostRecord, "what the sender is and offers"}})
message(0x0031, "SourceResponse", {answers = {0x0030}}, {
  result,
  {"origin", HostRecord, "the source", "success"},
})

-- Joining
message(0x0040, "ClusterRequest", {}, {
  {"applicant", HostRecord, "the host that seeks a place", "there"},
})
message(0x0041, "ClusterResponse", {answers = {0x0040}, by_anybody = true}, {
  result,
  {"parent", HostRecord, "the super node", "success"},
  {"super_node", u32, "root of the cluster"},
  host_path,
  {"children", list(HostRecord, 12), "the refuser's children, most free slots first"},
})
message(0x0050, "JoinRequest", {}, {
  {"applicant", HostRecord, "the host that seeks a place; answers go to it", "there"},
  {"passes", u8, "how many more times it may be passed down; 0 = answer yourself"},
})
message(0x0051, "JoinResponse", {answers = {0x0050}, by_anybody = true}, {
  result,
  {"parent", HostRecord, "who offers: depth and uptime decide (slide 16)", "success"},
  {"super_node", u32, "root of the cluster"},
  host_path,
  {"children", list(HostRecord, 12), "the refuser's children, most free slots first"},
})

-- Mesh
message(0x0060, "SetupRequest", {}, {
  {"sender", HostRecord, "the source (flag SOURCE) or a super node", "there"},
  {"members", list(HostRecord, 12), "super nodes to set up with; more follow in Status Reports"},
})
message(0x0061, "SetupResponse", {answers = {0x0060}}, {
  result,
  {"sender", HostRecord, "who answers", "success"},
})

-- Liveness and capacity
message(0x0070, "StatusReport", {}, {
  {"state", named(HostState), "what the subject is now"},
  {"subject", HostRecord, "the host it is about", "there"},
})
message(0x0071, "StatusResponse", {answers = {0x0070}}, {result})
message(0x0080, "ProbeRequest", {}, {
  {"timestamp", u64, "opaque to the receiver, returned as it is"},
})
message(0x0081, "ProbeResponse", {answers = {0x0080}}, {
  {"timestamp", u64, "copied from the request"},
  {"sender", HostRecord, "the answering host's present state"},
})
message(0x00A0, "RefreshRequest", {}, {
  {"kind", named(RefreshKind), "what the sender is to the receiver"},
  {"sender", HostRecord, "the sender's present state", "there"},
  {"super_node", u32, "root of the sender's cluster"},
  host_path,
  {"interest", list(Interest, 32), "wanted groups of the sender's subtree"},
  {"links", list(LinkRecord, 100), "link state of a super node (Decision 15)"},
  {"successors", list(HostRecord, 3),
   "a super node to the source: its most capable children, one of which takes its place"},
})
message(0x00A1, "RefreshResponse", {answers = {0x00A0}}, {
  result,
  {"sender", HostRecord, "the answering host's present state"},
  {"super_node", u32, "root of its cluster"},
  host_path,
  {"backups", list(HostRecord, 12), "to a child: backup parents (Decision 20)"},
  {"siblings", list(HostRecord, 3), "to a child: others on its level (slide 18)"},
  {"successor", HostRecord,
   "to a child of a super node: who takes this host's place (Decision 22); 0 = nobody"},
})

-- Leaving
message(0x0090, "LeaveReport", {}, {
  {"reason", named(LeaveReason), "why it goes"},
  {"replacement", HostRecord, "the new leader, or where to go; host 0 = none"},
})
message(0x0091, "LeaveResponse", {answers = {0x0090}}, {result})

-- Self-improvement
message(0x00B0, "PromotionRequest", {}, {{"applicant", HostRecord, "X", "there"}})
message(0x00B1, "PromotionAck", {answers = {0x00B0}}, {
  result,
  {"grandparent", HostRecord, "G, P's parent", "success"},
})
message(0x00B2, "PromotionConfirm", {answers = {0x00B6}}, {result})
message(0x00B3, "BreakRequest", {}, {{"applicant", HostRecord, "X", "there"}})
message(0x00B4, "BreakResponse", {answers = {0x00B3}}, {result})
-- G returns P's with the same number, so the first of the two is no answer.
message(0x00B5, "BreakConfirm", {answers = {0x00B5}, begins = true}, {result})
message(0x00B6, "JoinNotification", {}, {{"parent", HostRecord, "the new parent", "there"}})

-- Associations
message(0x00D0, "HandshakeInitiation",
        {session = "none", source = "some", still = true, bare = true, bytes = {600, 1194}}, {
  {"ephemeral", bytes(32), "X25519 key for this handshake alone"},
  {"sealed_static", bytes(48), "the sender's X25519 key, and the tag"},
  {"sealed_payload", all_but(32), "who the sender is, and the tag"},
  macs[1], macs[2],
})
message(0x00D1, "HandshakeResponse",
        {session = "none", source = "some", still = true, bare = true, bytes = {106, 1194},
         answers = {0x00D0}}, {
  {"ephemeral", bytes(32), "X25519 key for this handshake alone"},
  {"sealed_payload", all_but(32), "who the sender is, and the tag"},
  macs[1], macs[2],
})
message(0x00D2, "CookieReply",
        {session = "none", source = "none", still = true, bare = true, answers = {0x00D0}}, {
  {"nonce", bytes(12), "random"},
  {"sealed_cookie", bytes(32), "the cookie, and the tag"},
})
message(0x00D3, "Sealed",
        {session = "none", source = "some", reserved = "counter", still = true, bare = true}, seal)
message(0x00DC, "HopSealed",
        {session = "none", source = "some", reserved = "counter", still = true, bare = true}, seal)

-- Group key
message(0x00D4, "KeyRequest", {}, {
  {"epoch", u32, "newest epoch whose key the sender holds; 0 = none"},
})
message(0x00D5, "KeyResponse", {answers = {0x00D4, 0x00D6}}, {
  result,
  {"epoch", u32, "the present epoch"},
  {"leaf", u32, "the member's place in the tree, from 0 on"},
  {"path", list(PathKey, 8), "keys from the member's own up to the root"},
})
message(0x00D6, "KeyLeave", {}, {{"reason", named(LeaveReason), "why it goes"}})
message(0x00D7, "Rekey", {}, {
  {"epoch", u32, "the new epoch"},
  {"part", u16, "number of this part, from 0 on"},
  {"parts", u16, "how many there are"},
  {"renewals", list(KeyRenewal, 18),
   "renewed nodes, from the leaves up; a node may stand in two parts"},
})

-- Introductions, renewal
message(0x00D8, "IntroductionRequest", {session = "none", source = "none"}, {
  {"wanted", Endpoint, "where the host receives datagrams"},
})
message(0x00D9, "IntroductionResponse", {session = "none", source = "none", answers = {0x00D8}}, {
  {"wanted", Endpoint, "as in the request"},
})
message(0x00DA, "RenewalRequest", {session = "none", source = "none"}, {certificate})
message(0x00DB, "RenewalResponse", {session = "none", source = "none", answers = {0x00DA}}, {
  result,
  {"certificate", octets(1024, "certificate"), "X.509, DER; nothing if refused"},
})

local DATA, HEARTBEAT, CREDENTIAL, JOIN_NOTIFICATION = 0x0000, 0x0001, 0x0002, 0x00B6
local CLUSTER_REQUEST, JOIN_REQUEST, REFRESH_REQUEST = 0x0040, 0x0050, 0x00A0
local INITIATION, SEALED, HOP_SEALED, REKEY, ERROR = 0x00D0, 0x00D3, 0x00DC, 0x00D7, 0x00F0

-----------------------------------------------------------------------------------------------
-- 4  Faults: each kind is an expert info of its own, dmmp.expert.KIND
--
-- An error is what receivers refuse (messages.md, "What is refused"), or a tag that does not hold.
-- A warning is what no sender should do, though it may be read. The rest is for the reader.

local dmmp = Proto("dmmp", "Dynamic Mesh-based Overlay Multicast Protocol")
local experts = {}

local function kind_of_fault(group, severity, kinds)
  for kind, says in pairs(kinds) do
    experts[kind] = ProtoExpert.new("dmmp.expert." .. kind, says, group, severity)
  end
end

kind_of_fault(expert.group.MALFORMED, expert.severity.ERROR, {
  short = "Shorter than a header",
  version = "Another version",
  length = "Length is not what the datagram holds",
  truncated = "A field ends too soon",
  list_bound = "More elements than a list may have",
  text_bound = "Longer than a text may be",
  octets_bound = "More bytes than may be",
  text = "Text is no UTF-8",
  value = "A value that is not possible",
  trailing = "Bytes behind the last field",
  element_truncated = "An element ends too soon",
  element_padding = "Padding of an element is not zero",
  element_bound = "More than 16 elements",
  manifest = "A manifest of no possible size",
  introductions = "Introductions that are none",
})
kind_of_fault(expert.group.PROTOCOL, expert.severity.ERROR, {
  option = "No such message",
  option_private = "A private option: no message of the protocol",
  option_reserved = "An option that is reserved for security",
  element_unknown = "An element that must be understood is unknown",
  sealed_content = "What must not be sealed in this way",
})
kind_of_fault(expert.group.DECRYPTION, expert.severity.ERROR, {
  tag = "The tag does not hold under the keys of the key log",
})
kind_of_fault(expert.group.PROTOCOL, expert.severity.WARN, {
  session_zero = "Session 0 in a message of a session",
  session_nonzero = "A session in a message that stands outside of any",
  source_zero = "No origin, or no index",
  source_nonzero = "An id where none is known yet",
  tree_version = "A tree version in a message outside of any session",
  reserved = "Reserved word is not 0",
  flag_heartbeat = "The flag HEARTBEAT belongs to heartbeats, and to them alone",
  flags = "Flags that do not go together",
  key_epoch = "A key epoch, but nothing sealed",
  host_zero = "No host where one must be",
  root_path = "A host stands twice in a root path",
  interest_group = "A group that is no multicast address, or never leaves a link",
  interest_order = "Sources are not in ascending order, each once",
  kind = "Not for a refresh of this kind",
  element_value = "An element whose value is not its type's",
  datagram_size = "A datagram of a size that its message cannot have",
  rekey_part = "A part beyond the number of parts",
  key_path = "The keys do not lead up to the root",
})
kind_of_fault(expert.group.SEQUENCE, expert.severity.WARN, {
  unasked = "A response whose request is not in this capture",
})
kind_of_fault(expert.group.PROTOCOL, expert.severity.NOTE, {
  value_unknown = "A value without a name",
  flags_unknown = "Flags without a name, which are ignored",
  element_ignored = "An unknown element, which is ignored",
  element_repeated = "An element that comes again: the first counts",
})
kind_of_fault(expert.group.SEQUENCE, expert.severity.CHAT, {
  sent_again = "A request that was sent again",
  answered_again = "A request that was answered again",
})
kind_of_fault(expert.group.UNDECODED, expert.severity.NOTE, {
  cut = "The capture has not the whole datagram",
})

local function flag(item, kind, says)
  if says then
    item:add_proto_expert_info(experts[kind], says)
  else
    item:add_proto_expert_info(experts[kind]) -- nil in its place would be an argument, and refused
  end
end

-----------------------------------------------------------------------------------------------
-- 5  Wireshark's fields: those of the header, those that follow from section 3, a few more

local fields = {}

local function field(path, name, kind, base_of, names, what)
  fields[path] = ProtoField.new(name, path, kind, names, base_of, nil, what)
end

local uint_types = {ftypes.UINT8, ftypes.UINT16, [4] = ftypes.UINT32, [8] = ftypes.UINT64}

local function value_names(names)
  local found = {}
  for value, name in pairs(names or {}) do
    if type(value) == "number" then found[value] = name end
  end
  return next(found) and found or nil
end

local define = {}

function define.uint(kind, path, name, what)
  local names = kind.names and not kind.names.bits and value_names(kind.names) or nil
  local is_hex = kind.names and kind.names.bits or name == "node" or name == "under"
  field(path, name, uint_types[kind.size], is_hex and base.HEX or base.DEC, names, what)
end

function define.address(_, path, name, what)
  field(path, name, ftypes.IPv6, base.NONE, nil, what)
end

function define.bytes(_, path, name, what)
  field(path, name, ftypes.BYTES, base.NONE, nil, what)
end

function define.text(_, path, name, what)
  field(path .. ".length", name .. " length", ftypes.UINT8, base.DEC)
  field(path, name, ftypes.STRING, base.NONE, nil, what)
end

function define.octets(_, path, name, what)
  field(path .. ".length", name .. " length", ftypes.UINT16, base.DEC)
  field(path, name, ftypes.BYTES, base.NONE, nil, what)
end

function define.list(kind, path, name, what)
  field(path .. ".count", name, ftypes.UINT8, base.DEC, nil, what)
  define[kind.element.kind](kind.element, path, name, what)
end

function define.record(kind, path, name, what)
  field(path, name, ftypes.NONE, base.NONE, nil, what)
  for _, each in ipairs(kind.fields) do
    define[each[2].kind](each[2], path .. "." .. each[1], each[1], each[3])
  end
end

define.record(Grant, "dmmp.grant", "grant", "what the certificate permits")
local options = {}
for option, what in pairs(messages) do
  options[option] = what.name
  for _, each in ipairs(what.fields) do
    define[each[2].kind](each[2], what.path .. "." .. each[1], each[1], each[3])
  end
end

field("dmmp.version", "version", ftypes.UINT8, base.DEC, nil, "protocol version, 1")
field("dmmp.tree_version", "tree_version", ftypes.UINT8, base.DEC, nil,
      "raised by the RP for every new tree")
field("dmmp.option", "option", ftypes.UINT16, base.HEX, options, "which message this is")
field("dmmp.session", "session", ftypes.UINT32, base.HEX, nil, "made by the RP; never 0x2112A442")
field("dmmp.source", "source", ftypes.UINT32, base.DEC, nil,
      "in data the origin, in control the sender")
field("dmmp.sequence", "sequence", ftypes.UINT32, base.DEC, nil, "a response repeats its request's")
field("dmmp.reserved", "reserved", ftypes.UINT32, base.HEX, nil,
      "in data: flags 8, key epoch 8, channel 16 bits")
field("dmmp.length", "length", ftypes.UINT32, base.DEC, nil, "bytes after the header")

local FLAGS = {{"heartbeat", 0x01}, {"sealed", 0x02}, {"manifest", 0x04}, {"signed", 0x08}}
field("dmmp.flags", "flags", ftypes.UINT8, base.HEX, nil, "what its payload is")
for _, each in ipairs(FLAGS) do
  local path = "dmmp.flags." .. each[1]
  fields[path] = ProtoField.bool(path, each[1]:upper(), 8, nil, each[2])
end
field("dmmp.key_epoch", "key epoch", ftypes.UINT8, base.DEC, nil, "lowest eight bits of its number")
field("dmmp.channel", "channel", ftypes.UINT16, base.DEC, nil, "0 = the origin's key messages")
field("dmmp.counter", "counter", ftypes.UINT64, base.DEC, nil, "nonce of what is sealed")
field("dmmp.index", "index", ftypes.UINT32, base.HEX, nil, "names an association at one end")

field("dmmp.element", "element", ftypes.NONE, base.NONE)
field("dmmp.element.type", "type", ftypes.UINT16, base.HEX, Element, "which element")
field("dmmp.element.length", "length", ftypes.UINT16, base.DEC, nil, "bytes of value")
field("dmmp.element.value", "value", ftypes.BYTES, base.NONE)
field("dmmp.element.name", "name", ftypes.STRING, base.NONE, nil, "what its user calls the host")
field("dmmp.element.padding", "padding", ftypes.BYTES, base.NONE)

field("dmmp.data.ciphertext", "ciphertext", ftypes.BYTES, base.NONE, nil, "of an IP packet")
field("dmmp.data.plaintext", "plaintext", ftypes.BYTES, base.NONE, nil, "what was sealed")
field("dmmp.data.tag", "tag", ftypes.BYTES, base.NONE)
field("dmmp.data.signature", "signature", ftypes.BYTES, base.NONE, nil, "Ed25519, of the packet")
field("dmmp.data.manifest", "manifest", ftypes.NONE, base.NONE, nil, "lists other packets")
field("dmmp.data.manifest.first", "first", ftypes.UINT32, base.DEC, nil, "first packet listed")
field("dmmp.data.manifest.digest", "digest", ftypes.BYTES, base.NONE, nil, "SHA-256, 16 bytes")
field("dmmp.data.manifest.signature", "signature", ftypes.BYTES, base.NONE)
field("dmmp.introduction", "introduction", ftypes.NONE, base.NONE, nil, "the key of a host")
field("dmmp.introduction.which", "which", ftypes.UINT8, base.DEC, nil, "number of the endpoint")
field("dmmp.introduction.key", "key", ftypes.BYTES, base.NONE, nil, "X25519 public key")

field("dmmp.host", "a host", ftypes.UINT32, base.DEC, nil, "any id in a message or its header")
field("dmmp.ipv4", "an address", ftypes.IPv4, base.NONE, nil, "any IPv4 address in a message")
field("dmmp.ipv6", "an address", ftypes.IPv6, base.NONE, nil, "any IPv6 address in a message")
field("dmmp.opened", "opened with the key log", ftypes.BOOLEAN, base.NONE)
field("dmmp.undissected", "not taken apart", ftypes.BYTES, base.NONE)
field("dmmp.batch", "datagrams in this frame", ftypes.UINT32, base.DEC, nil,
      "the kernel captures a batch of equal datagrams as one (GSO, GRO)")

fields["dmmp.response_in"] = ProtoField.framenum("dmmp.response_in", "response in", base.NONE,
                                                 frametype.RESPONSE)
fields["dmmp.response_to"] = ProtoField.framenum("dmmp.response_to", "response to", base.NONE,
                                                 frametype.REQUEST)
fields["dmmp.sent_before_in"] = ProtoField.framenum("dmmp.sent_before_in", "sent before in",
                                                    base.NONE, frametype.RETRANS_PREV)
field("dmmp.response_time", "response time", ftypes.RELATIVE_TIME, base.NONE, nil,
      "since the request was last sent")

dmmp.fields, dmmp.experts = {}, {}
for _, each in pairs(fields) do table.insert(dmmp.fields, each) end
for _, each in pairs(experts) do table.insert(dmmp.experts, each) end

-- What the reader may choose: Edit, Preferences, Protocols, DMMP; or -o dmmp.keylog_file:FILE.
dmmp.prefs.udp_ports = Pref.range("UDP ports", "47700", "Where DMMP is expected; elsewhere it is "
  .. "recognised by its header", 65535)
dmmp.prefs.keylog_file = Pref.string("Key log file", "", "What nodes write with --key-log FILE")
dmmp.prefs.carried = Pref.bool("Dissect carried packets", true, "Take IP packets in Data apart")

-----------------------------------------------------------------------------------------------
-- 6  Reading: a cursor over a datagram, and a function for each type of field

local STOP = {} -- raised where nothing further can be read; its reason was flagged before

local function take(cursor, size, item)
  local is_beyond = size < 0 or cursor.at + size > cursor.stop
  if is_beyond or cursor.at + size > cursor.tvb:len() then
    flag(item, is_beyond and "truncated" or "cut")
    error(STOP, 0)
  end
  local range = cursor.tvb(cursor.at, size)
  cursor.at = cursor.at + size
  return range
end

local function left_of(cursor) -- all that is there of what is left of the datagram
  return cursor.tvb(cursor.at, math.min(cursor.stop, cursor.tvb:len()) - cursor.at)
end

local function generated(tree, path, ...)
  local item = tree:add(fields[path], ...)
  item:set_generated()
  return item
end

local function hidden(tree, path, ...) tree:add(fields[path], ...):set_hidden() end

local function utf8_fault(content) -- gives whether these bytes are no UTF-8 (RFC 3629)
  local at = 1
  while at <= #content do
    local first = content:byte(at)
    local more = first < 0x80 and 0 or first >= 0xC2 and first < 0xE0 and 1
      or first >= 0xE0 and first < 0xF0 and 2 or first >= 0xF0 and first < 0xF5 and 3
    if not more or at + more > #content then return true end
    for i = 1, more do
      local byte = content:byte(at + i)
      local low = i == 1 and ({[0xE0] = 0xA0, [0xF0] = 0x90})[first] or 0x80
      local high = i == 1 and ({[0xED] = 0x9F, [0xF4] = 0x8F})[first] or 0xBF
      if byte < low or byte > high then return true end
    end
    at = at + more + 1
  end
  return false
end

local read = {} -- each gives the value and its item

local function add(tree, path, range) return tree:add(fields[path], range) end

local function flag_names(names, value)
  local found, rest = {}, value
  for bit = 0, 7 do
    local mask = lshift(1, bit)
    if names[mask] and band(value, mask) ~= 0 then
      found[#found + 1], rest = names[mask], rest - mask
    end
  end
  return table.concat(found, ", "), rest
end

function read.uint(kind, path, tree, cursor)
  local range = take(cursor, kind.size, tree)
  local item = add(tree, path, range)
  local value = kind.size == 8 and range:uint64() or range:uint()
  local names = kind.names
  if kind.id and value == 0 then flag(item, "host_zero") end
  if kind.id or path:match("%.host$") then hidden(tree, "dmmp.host", range) end
  if names and names.bits then
    local known, rest = flag_names(names, value)
    item:append_text(" (" .. (known ~= "" and known or names[0]) .. ")")
    if rest ~= 0 then flag(item, "flags_unknown") end
  elseif names and not names[value] then
    if not names.other then
      flag(item, "value")
      error(STOP, 0)
    end
    flag(item, "value_unknown", "A value without a name: it stands for " .. names.other)
  end
  return value, item
end

local MAPPED = string.rep("\0", 10) .. "\255\255"

function read.address(_, path, tree, cursor)
  local range = take(cursor, 16, tree)
  local item = add(tree, path, range)
  local value
  if range:raw(0, 12) == MAPPED then
    value = tostring(range(12, 4):ipv4())
    item:set_text(path:match("[^.]+$") .. ": " .. value)
    hidden(tree, "dmmp.ipv4", range(12, 4))
  else
    value = tostring(range:ipv6())
    hidden(tree, "dmmp.ipv6", range)
  end
  return {text = value, raw = range:raw()}, item
end

function read.text(kind, path, tree, cursor)
  local range = take(cursor, 1, tree)
  local length = range:uint()
  local length_item = add(tree, path .. ".length", range)
  if length > kind.most then
    flag(length_item, "text_bound", "Longer than a text may be: at most " .. kind.most .. " bytes")
    error(STOP, 0)
  end
  range = take(cursor, length, length_item)
  local item = tree:add_packet_field(fields[path], range, ENC_UTF_8)
  local content = length > 0 and range:raw() or ""
  if utf8_fault(content) then
    flag(item, "text")
    error(STOP, 0)
  end
  return content, item
end

local function carried(name, tvb, pinfo, tree) -- lets another dissector take bytes apart
  local is_there, dissector = pcall(Dissector.get, name)
  -- What goes wrong in it has been shown in the tree when it comes back as an error.
  if is_there and dissector then pcall(dissector.call, dissector, tvb, pinfo, tree) end
end

-- Wireshark knows X.509, but not the grant in it.
local function read_certificate(range, item, pinfo)
  local _, found = range:raw():find(GRANT, 1, true)
  if found and found + 1 < range:len() then
    local size = range(found, 1):uint()
    if size == 0x81 then size, found = range(found + 1, 1):uint(), found + 1 end
    local begun = found + 1
    local cursor = {tvb = range:tvb(), at = begun, stop = math.min(begun + size, range:len()),
                    pinfo = pinfo, endpoints = {}}
    read.record(Grant, "dmmp.grant", item, cursor)
    if cursor.at < cursor.stop then flag(item, "trailing") end
  end
  carried("application/pkix-cert", range:tvb(), pinfo, item)
end

function read.octets(kind, path, tree, cursor)
  local range = take(cursor, 2, tree)
  local length = range:uint()
  local length_item = add(tree, path .. ".length", range)
  if length > kind.most then
    flag(length_item, "octets_bound", "More bytes than may be: at most " .. kind.most)
    error(STOP, 0)
  end
  range = take(cursor, length, length_item)
  local item = add(tree, path, range)
  if kind.inner == "certificate" and length > 0 then read_certificate(range, item, cursor.pinfo) end
  return {size = length}, item
end

function read.bytes(kind, path, tree, cursor)
  local size = kind.size or cursor.stop - cursor.at - kind.behind
  local range = take(cursor, size, tree)
  return {size = size}, add(tree, path, range)
end

function read.list(kind, path, tree, cursor)
  local range = take(cursor, 1, tree)
  local count = range:uint()
  local item = add(tree, path .. ".count", range)
  if count > kind.most then
    flag(item, "list_bound", "More elements than a list may have: at most " .. kind.most)
    error(STOP, 0)
  end
  local found = {}
  for i = 1, count do
    local value, element = read[kind.element.kind](kind.element, path, item, cursor)
    if kind.element == HostRecord and value.host == 0 then flag(element, "host_zero") end
    found[i] = value
  end
  item:set_len(cursor.at - range:offset())
  return found, item
end

local function said_of(kind, value) -- a record in one line
  if kind == Endpoint then
    local text = value.address.text
    return string.format(text:find(":") and "[%s]:%d" or "%s:%d", text, value.port)
  elseif kind == HostRecord then
    if value.host == 0 and value.endpoint.port == 0 then return "none" end
    return string.format("host %u at %s, depth %u, out-degree %u, %u free", value.host,
                         said_of(Endpoint, value.endpoint), value.depth, value.out_degree,
                         value.free_slots)
  elseif kind == LinkRecord then
    return string.format("to %u in %u us", value.neighbour, value.delay_us)
  elseif kind == Interest then
    return value.group.text .. " " .. FilterMode[value.mode] .. " " .. #value.sources
  elseif kind == Grant then
    return flag_names(Capability, value.capabilities) .. " in " .. value.session
  end
  local node = value.node or value.under
  return string.format("level %u index %u", rshift(node, 24), band(node, 0xFFFFFF))
end

local function is_multicast_beyond_link(raw)
  if raw:sub(1, 12) == MAPPED then
    local a, b, c = raw:byte(13, 15)
    return a >= 224 and a < 240 and not (a == 224 and b == 0 and c == 0)
  end
  return raw:byte(1) == 0xFF and band(raw:byte(2), 0x0F) > 2
end

local function check_interest(value, item)
  if not is_multicast_beyond_link(value.group.raw) then flag(item, "interest_group") end
  for i = 2, #value.sources do
    if value.sources[i].raw <= value.sources[i - 1].raw then
      flag(item, "interest_order")
      break
    end
  end
end

function read.record(kind, path, tree, cursor)
  local begun = cursor.at
  local item = tree:add(fields[path], left_of(cursor))
  local value = {}
  for _, each in ipairs(kind.fields) do
    value[each[1]] = read[each[2].kind](each[2], path .. "." .. each[1], item, cursor)
  end
  item:set_len(cursor.at - begun)
  item:append_text(": " .. said_of(kind, value))
  if kind == Endpoint and value.port ~= 0 and value.address.raw ~= MAPPED .. "\0\0\0\0" then
    -- In this order introductions count them.
    table.insert(cursor.endpoints, said_of(kind, value))
  elseif kind == Interest then
    check_interest(value, item)
  end
  return value, item
end

-----------------------------------------------------------------------------------------------
-- 7  Rules beyond single fields. `body` has the values by name, `items` where they are shown.

local rules = {}

function rules.Heartbeat(body, items, header)
  if body.started > 1 then
    flag(items.started, "value_unknown", "A value without a name: it counts as 1")
  end
  if header.channel ~= 0 and not is_multicast_beyond_link(body.group.raw) then
    flag(items.group, "interest_group")
  end
end

function rules.PingRpResponse(body, items)
  if body.status == 0 and body.host == 0 then flag(items.host, "host_zero") end
end

function rules.RefreshRequest(body, items)
  local kind = RefreshKind[body.kind]
  if #body.links > 0 and kind and kind ~= "MESH" then flag(items.links, "kind") end
  if #body.interest > 0 and kind == "RELATIVE" then flag(items.interest, "kind") end
end

function rules.Rekey(body, items)
  if body.part >= body.parts then flag(items.part, "rekey_part") end
end

function rules.KeyResponse(body, items)
  local level = -1
  for _, each in ipairs(body.path) do
    local next_level = rshift(each.node, 24)
    if next_level <= level then level = 256 else level = next_level end
  end
  local last = body.path[#body.path]
  if last and (level == 256 or last.node ~= 0x07000000) then flag(items.path, "key_path") end
end

local function check_body(what, body, items, header)
  for _, each in ipairs(what.fields) do
    local name, must = each[1], each[4]
    if must and (must == "there" or body.status == 0) and body[name].host == 0 then
      flag(items[name], "host_zero")
    end
  end
  local seen = {}
  for _, host in ipairs(body.root_path or {}) do
    if seen[host] then
      flag(items.root_path, "root_path")
      break
    end
    seen[host] = true
  end
  if rules[what.name] then rules[what.name](body, items, header) end
end

-----------------------------------------------------------------------------------------------
-- 8  Optional elements (Decision 5)

local function check_element(kind, value, item, what, is_last)
  if kind == PADDING and value:find("[^\0]") then
    flag(item, "element_value", "PADDING is zero bytes")
  elseif kind == NAME and utf8_fault(value) then
    flag(item, "element_value", "NAME is no UTF-8")
  elseif kind == SIGNATURE
    and (#value ~= SIGNATURE_BYTES or not is_last or what.option ~= HEARTBEAT) then
    flag(item, "element_value", "SIGNATURE is 64 bytes, the last element of a Heartbeat")
  end
end

local function read_element(cursor, tree, what, seen)
  local begun = cursor.at
  if cursor.stop - begun < 4 then
    local rest = tree:add(fields["dmmp.undissected"], take(cursor, cursor.stop - begun, tree))
    flag(rest, "trailing")
    error(STOP, 0)
  end
  local item = tree:add(fields["dmmp.element"], left_of(cursor))
  local range = take(cursor, 2, item)
  local kind, kind_item = range:uint(), add(item, "dmmp.element.type", range)
  range = take(cursor, 2, item)
  local length, length_item = range:uint(), add(item, "dmmp.element.length", range)
  local padding = -length % 4
  if cursor.at + length + padding > cursor.stop then
    flag(length_item, "element_truncated")
    error(STOP, 0)
  end
  range = take(cursor, length, item)
  local value = length > 0 and range:raw() or ""
  add(item, "dmmp.element.value", range)
  if kind == NAME then
    item:add_packet_field(fields["dmmp.element.name"], range, ENC_UTF_8)
  end
  if padding > 0 then
    range = take(cursor, padding, item)
    local padding_item = add(item, "dmmp.element.padding", range)
    if range:raw():find("[^\0]") then flag(padding_item, "element_padding") end
  end
  item:set_len(cursor.at - begun)
  item:append_text(": " .. (Element[kind] or string.format("0x%04x", kind)))
  if not Element[kind] then
    flag(kind_item, kind < 0x8000 and "element_unknown" or "element_ignored")
  elseif seen[kind] then
    flag(item, "element_repeated")
  end
  seen[kind] = true
  check_element(kind, value, item, what, cursor.at == cursor.stop)
end

local function read_elements(cursor, tree, what)
  local seen, count = {}, 0
  while cursor.at < cursor.stop do
    count = count + 1
    if what.bare then
      flag(tree:add(fields["dmmp.undissected"], take(cursor, cursor.stop - cursor.at, tree)),
           "trailing")
    elseif count > MOST_ELEMENTS then
      flag(tree:add(fields["dmmp.undissected"], take(cursor, cursor.stop - cursor.at, tree)),
           "element_bound")
    else
      read_element(cursor, tree, what, seen)
    end
  end
end

-----------------------------------------------------------------------------------------------
-- 9  Data: what its payload is, by the flags (messages.md, "Data")

local dissect_datagram -- section 12; what is sealed or signed holds datagrams again

local function new_tvb(content, name) return ByteArray.new(content, true):tvb(name) end

-- A carried packet stands beside DMMP in the tree, as in any tunnel; the columns and the frame's
-- addresses stay those of the datagram that carries it.
local function dissect_packet(tvb, pinfo, root, context)
  local version = tvb:len() >= 20 and rshift(tvb(0, 1):uint(), 4)
  local said = ""
  if version == 4 then
    said = tostring(tvb(12, 4):ipv4()) .. " > " .. tostring(tvb(16, 4):ipv4())
  elseif version == 6 and tvb:len() >= 40 then
    said = tostring(tvb(8, 16):ipv6()) .. " > " .. tostring(tvb(24, 16):ipv6())
  end
  if said ~= "" and dmmp.prefs.carried then
    context.carried = true
    carried(version == 4 and "ip" or "ipv6", tvb, pinfo, root)
  end
  return said
end

local function read_manifest(cursor, tree)
  local size = cursor.stop - cursor.at
  local item = tree:add(fields["dmmp.data.manifest"], left_of(cursor))
  local digests = (size - 4 - SIGNATURE_BYTES) / DIGEST_BYTES
  if digests < 1 or digests > MOST_DIGESTS or digests % 1 ~= 0 then
    flag(item, "manifest")
    error(STOP, 0)
  end
  local range = take(cursor, 4, item)
  add(item, "dmmp.data.manifest.first", range)
  local first = range:uint()
  for number = 0, digests - 1 do
    range = take(cursor, DIGEST_BYTES, item)
    add(item, "dmmp.data.manifest.digest", range)
      :append_text(string.format(" of %u", (first + number) % 0x100000000))
  end
  add(item, "dmmp.data.manifest.signature", take(cursor, SIGNATURE_BYTES, item))
  item:append_text(string.format(": packets from %u, %u of them", first, digests))
  return string.format("manifest of %u from %u", digests, first)
end

local function read_sealed_packet(cursor, tail, tree, root, context)
  add(tree, "dmmp.data.ciphertext",
      take(cursor, cursor.stop - cursor.at - tail - TAG_BYTES, tree))
  local tag_item = add(tree, "dmmp.data.tag", take(cursor, TAG_BYTES, tree))
  local plain, had_key = open_data(cursor.tvb:raw(0, cursor.stop), tail)
  generated(tree, "dmmp.opened", plain ~= nil)
  if not plain then
    if had_key then flag(tag_item, "tag") end
    return "sealed"
  elseif #plain == 0 then
    return "nothing"
  end
  local tvb = new_tvb(plain, "Opened packet")
  generated(tree, "dmmp.data.plaintext", tvb())
  return dissect_packet(tvb, cursor.pinfo, root, context)
end

local function read_payload(cursor, item, header, root, context)
  local flags, channel = header.flags, header.channel
  local is_sealed, is_manifest = band(flags, 0x02) ~= 0, band(flags, 0x04) ~= 0
  local is_signed = band(flags, 0x08) ~= 0
  local said, tail = "", is_signed and SIGNATURE_BYTES or 0
  local stop = cursor.stop
  if is_sealed then
    said = read_sealed_packet(cursor, tail, item, root, context)
  elseif is_manifest then
    cursor.stop = stop - tail
    said = read_manifest(cursor, item)
    cursor.stop = stop
  elseif is_signed then
    local range = take(cursor, stop - cursor.at - tail, item)
    said = dissect_datagram(range:tvb(), cursor.pinfo, item, root, context, DATA)
  elseif cursor.at < stop then
    local range = take(cursor, stop - cursor.at, item)
    said = dissect_packet(range:tvb(), cursor.pinfo, root, context)
  end
  if is_signed then add(item, "dmmp.data.signature", take(cursor, SIGNATURE_BYTES, item)) end
  local is_for_members = is_sealed or is_manifest -- and what is signed alone, is for channel 0
  if is_sealed and is_manifest or is_for_members and channel == 0
    or is_signed and not is_for_members and channel ~= 0 then
    flag(header.flags_item, "flags")
  end
  return said
end

-----------------------------------------------------------------------------------------------
-- 10  Sealed and HopSealed: what is in them is a datagram, and behind it introductions

local function read_introductions(tvb, at, tree, endpoints)
  local size = tvb:len() - at
  local seen = {}
  for number = 1, math.ceil(size / INTRODUCTION_BYTES) do
    local here = math.min(INTRODUCTION_BYTES, tvb:len() - at)
    local item = tree:add(fields["dmmp.introduction"], tvb(at, here))
    if here < INTRODUCTION_BYTES or number > MOST_INTRODUCTIONS then
      flag(item, "introductions")
      return
    end
    local which = tvb(at, 1):uint()
    add(item, "dmmp.introduction.which", tvb(at, 1))
    add(item, "dmmp.introduction.key", tvb(at + 1, 32))
    item:append_text(": the key of " .. (endpoints[which + 1] or "nobody in this message"))
    if seen[which] then flag(item, "introductions", "An endpoint that is introduced twice") end
    seen[which] = true
    at = at + INTRODUCTION_BYTES
  end
end

local function dissect_sealed(cursor, tree, root, context, what, items)
  local plain, had_key = open_sealed(cursor.tvb:raw(0, cursor.stop))
  generated(tree, "dmmp.opened", plain ~= nil)
  if not plain then
    if had_key then flag(items.tag, "tag") end
    return ""
  elseif #plain == 0 then
    tree:append_text(", nothing in it")
    return "nothing"
  end
  local tvb = new_tvb(plain, "Opened " .. what.name)
  local length = #plain >= HEADER_BYTES and HEADER_BYTES + word_at(plain, 21) or #plain
  if what.option == HOP_SEALED or length > #plain then length = #plain end
  local said, endpoints = dissect_datagram(tvb(0, length):tvb(), cursor.pinfo, tree, root, context,
                                           what.option)
  if length < #plain then read_introductions(tvb, length, tree, endpoints or {}) end
  return said
end

-- Whether a message may stand where it does: in a Sealed, a HopSealed, or signed in Data.
local function check_place(header, inside, item)
  local option = header.option
  local is_forwarders = option == HEARTBEAT or option == CREDENTIAL or option == DATA
  local is_association = messages[option].still
  local wrong = is_association or inside == SEALED and is_forwarders
    or inside == HOP_SEALED and (not is_forwarders
      or option == DATA and band(header.flags, 0x0C) == 0)
    or inside == DATA and option ~= REKEY
  if wrong then flag(item, "sealed_content") end
end

-----------------------------------------------------------------------------------------------
-- 11  Requests and responses (messages.md, "Requests and responses")
--
-- A response bears the number of its request and comes from the endpoint that was asked; of those
-- that are passed down (`by_anybody`) from any. Frames are read in order once, and then at random:
-- what was found the first time is kept by frame and number of the message in it.

local sent, relations = {}, {}
local is_answered = {}
for _, what in pairs(messages) do
  for _, option in ipairs(what.answers or {}) do is_answered[option] = what end
end

local function number_of(header, body)
  if header.option == INITIATION then return header.source end
  return body.wanted and said_of(Endpoint, body.wanted) or header.sequence
end

local function key_of(option, number, asker, asked)
  return table.concat({option, number, asker, asked or "anybody"}, " ")
end

local function note_request(header, body, from, to, relation, pinfo)
  local is_passed = is_answered[header.option].by_anybody
  local number = number_of(header, body)
  local keys = {key_of(header.option, number, from, not is_passed and to or nil)}
  if is_passed then
    local wanted = said_of(Endpoint, body.applicant.endpoint)
    if wanted ~= from then keys[2] = key_of(header.option, number, wanted) end
  end
  for _, key in ipairs(keys) do
    sent[key] = sent[key] or {}
    for _, each in ipairs(sent[key]) do
      if each.from == from and each.to == to then relation.before = each.frame end
    end
    table.insert(sent[key], {frame = pinfo.number, time = pinfo.rel_ts, from = from, to = to,
                             relation = relation})
  end
end

local function find_request(what, header, body, from, to)
  for _, option in ipairs(header.option == ERROR and {body.option} or what.answers) do
    local is_passed = is_answered[option] and is_answered[option].by_anybody
    local key = key_of(option, number_of(header, body), to, not is_passed and from or nil)
    local asked = sent[key]
    if asked then
      for i = #asked, 1, -1 do
        if asked[i].to == from then return asked[i], asked end
      end
      return asked[#asked], asked
    end
  end
end

local function relate(what, header, body, pinfo, context)
  local name = pinfo.number .. " " .. context.messages
  if pinfo.visited then return relations[name] end
  local from = said_of(Endpoint, {address = {text = tostring(pinfo.src)}, port = pinfo.src_port})
  local to = said_of(Endpoint, {address = {text = tostring(pinfo.dst)}, port = pinfo.dst_port})
  local relation = {}
  relations[name] = relation
  if what.answers or header.option == ERROR then
    local request, all = find_request(what, header, body, from, to)
    if request then
      relation.request, relation.time = request.frame, pinfo.rel_ts - request.time
      relation.again = request.relation.response
      for _, each in ipairs(all) do
        each.relation.response = each.relation.response or pinfo.number
      end
      return relation
    end
    relation.is_unasked = not what.begins
  end
  local is_silent = header.option == REFRESH_REQUEST and RefreshKind[body.kind] == "PARENT"
  if is_answered[header.option] and not is_silent then
    note_request(header, body, from, to, relation, pinfo)
  end
  return relation
end

local function show_relation(relation, tree, item)
  if not relation then return end
  if relation.request then
    generated(tree, "dmmp.response_to", relation.request)
    local whole = math.floor(relation.time)
    generated(tree, "dmmp.response_time",
              NSTime.new(whole, math.floor((relation.time - whole) * 1e9 + 0.5)))
    if relation.again then
      flag(item, "answered_again", "Answered before in frame " .. relation.again)
    end
  elseif relation.is_unasked then
    flag(item, "unasked")
  end
  if relation.response then generated(tree, "dmmp.response_in", relation.response) end
  if relation.before then
    generated(tree, "dmmp.sent_before_in", relation.before)
    flag(item, "sent_again")
  end
end

-----------------------------------------------------------------------------------------------
-- 12  Datagrams

-- A message in one line: what is named, then numbers, hosts by their ids, lists by their lengths.
local function summary_of(what, header, body)
  local said = {what.name}
  for _, each in ipairs(what.fields) do
    local name, kind, value = each[1], each[2], body[each[1]]
    if value == nil then break end
    if kind.names then
      said[#said + 1] = kind.names[value] or tostring(value)
    elseif kind.kind == "uint" and kind.size <= 4 then
      said[#said + 1] = string.format("%s=%d", name, value)
    elseif kind == HostRecord and value.host ~= 0 then
      said[#said + 1] = string.format("%s=%d", name, value.host)
    elseif kind == Endpoint then
      said[#said + 1] = name .. "=" .. said_of(Endpoint, value)
    elseif kind.kind == "address" then
      said[#said + 1] = name .. "=" .. value.text
    elseif kind.kind == "text" and value ~= "" then
      said[#said + 1] = name .. "=" .. value
    elseif kind.kind == "list" and #value > 0 then
      said[#said + 1] = name .. "[" .. #value .. "]"
    end
  end
  if what.reserved == "channel" then
    said[1] = string.format("%s %d of %d/%d", what.name, header.sequence, header.source,
                            header.channel)
  elseif what.reserved == "counter" then
    said[1] = string.format("%s for 0x%08x", what.name, header.source)
  end
  return table.concat(said, " ")
end

local function read_flags(tvb, tree, header, is_heartbeat)
  header.flags, header.key_epoch = tvb(16, 1):uint(), tvb(17, 1):uint()
  header.channel = tvb(18, 2):uint()
  local item = add(tree, "dmmp.flags", tvb(16, 1))
  header.flags_item = item
  for _, each in ipairs(FLAGS) do add(item, "dmmp.flags." .. each[1], tvb(16, 1)) end
  local epoch_item = add(tree, "dmmp.key_epoch", tvb(17, 1))
  add(tree, "dmmp.channel", tvb(18, 2))
  if (band(header.flags, 0x01) ~= 0) ~= is_heartbeat then flag(item, "flag_heartbeat") end
  if band(header.flags, 0xF0) ~= 0 then flag(item, "flags_unknown") end
  if not is_heartbeat and header.key_epoch ~= 0 and band(header.flags, 0x02) == 0 then
    flag(epoch_item, "key_epoch")
  end
end

local function check_zero(rule, value, item, zero_fault, nonzero_fault)
  if rule == "some" and value == 0 then flag(item, zero_fault) end
  if rule == "none" and value ~= 0 then flag(item, nonzero_fault) end
end

local function read_option(tvb, tree, header)
  local option = tvb(2, 2):uint()
  local item = add(tree, "dmmp.option", tvb(2, 2))
  header.option = option
  if not messages[option] then
    flag(item, option >= 0x8000 and "option_private"
      or option >= 0x00D0 and option <= 0x00DF and "option_reserved" or "option")
  end
  return item
end

local function read_source(tvb, tree, header, what)
  header.source = tvb(8, 4):uint()
  local item = add(tree, "dmmp.source", tvb(8, 4))
  check_zero(what.source, header.source, item, "source_zero", "source_nonzero")
  if what.still then
    item:append_text(string.format(" (index 0x%08x)", header.source))
    if header.source ~= 0 then hidden(tree, "dmmp.index", tvb(8, 4)) end
  elseif header.source ~= 0 then
    hidden(tree, "dmmp.host", tvb(8, 4))
  end
end

local function read_reserved(tvb, tree, header, what)
  local item = add(tree, "dmmp.reserved", tvb(16, 4))
  local value = tvb(16, 4):uint()
  if what.reserved == "channel" then
    read_flags(tvb, item, header, what.option == HEARTBEAT)
  elseif not what.reserved and value ~= 0 and messages[what.option] then
    flag(item, "reserved")
  end
end

-- Gives the header and where the message ends; nil where it cannot be read on.
local function read_header(tvb, tree, context)
  local header = {}
  local version_item = add(tree, "dmmp.version", tvb(0, 1))
  if tvb(0, 1):uint() ~= VERSION then
    flag(version_item, "version")
    return nil
  end
  local version_of_tree = tvb(1, 1):uint()
  local tree_item = add(tree, "dmmp.tree_version", tvb(1, 1))
  header.item = read_option(tvb, tree, header)
  local what = messages[header.option] or {session = "any", option = header.option}
  if what.still and version_of_tree ~= 0 then flag(tree_item, "tree_version") end
  local session_item = add(tree, "dmmp.session", tvb(4, 4))
  check_zero(what.session or "some", tvb(4, 4):uint(), session_item, "session_zero",
             "session_nonzero")
  read_source(tvb, tree, header, what)
  header.sequence = tvb(12, 4):uint()
  add(tree, "dmmp.sequence", tvb(12, 4))
  read_reserved(tvb, tree, header, what)
  local length_item = add(tree, "dmmp.length", tvb(20, 4))
  local stop = HEADER_BYTES + tvb(20, 4):uint()
  if stop ~= tvb:reported_len() and not context.is_quoted then
    flag(length_item, "length", string.format(
      "Length is not what the datagram holds: %d bytes", tvb:reported_len() - HEADER_BYTES))
  end
  if what.reserved == "counter" then
    generated(tree, "dmmp.counter", tvb(12, 8), UInt64.new(header.sequence, tvb(16, 4):uint()))
  end
  header.is_cut = tvb:len() < tvb:reported_len() or context.is_quoted and tvb:len() < stop
  return header, header.is_cut and stop or math.min(stop, tvb:len())
end

local function read_body(cursor, tree, what, header)
  local body, items = {}, {}
  local whole, fault = pcall(function()
    for _, each in ipairs(what.fields) do
      local name, kind = each[1], each[2]
      body[name], items[name] = read[kind.kind](kind, what.path .. "." .. name, tree, cursor)
    end
    read_elements(cursor, tree, what)
  end)
  if not whole and fault ~= STOP then error(fault, 0) end
  if whole then check_body(what, body, items, header) end
  return body, items, whole
end

local function read_inside(cursor, tree, what, header, items, root, context)
  local said = ""
  local is_read, fault = pcall(function()
    if what.option == DATA then
      cursor.at = HEADER_BYTES
      said = read_payload(cursor, items.payload, header, root, context)
    elseif what.option == SEALED or what.option == HOP_SEALED then
      said = dissect_sealed(cursor, tree, root, context, what, items)
    end
  end)
  if not is_read and fault ~= STOP then error(fault, 0) end
  return said
end

-- Takes one datagram apart; gives it in one line, and the endpoints that it names in their order.
-- `inside` is the option of what it came in, nil for what came by itself.
function dissect_datagram(tvb, pinfo, tree, root, context, inside)
  context.messages = context.messages + 1
  local item = tree:add(dmmp, tvb())
  if context.batch and not inside then generated(item, "dmmp.batch", context.batch) end
  if tvb:len() < HEADER_BYTES then
    flag(item:add(fields["dmmp.undissected"], tvb()),
         (tvb:len() < tvb:reported_len() or context.is_quoted) and "cut" or "short")
    return "too short"
  end
  local header, stop = read_header(tvb, item, context)
  if not header then
    item:add(fields["dmmp.undissected"], tvb(1))
    return "version " .. tvb(0, 1):uint()
  end
  local what = messages[header.option]
  if not what then
    if stop > HEADER_BYTES then
      local there = math.min(stop, tvb:len()) - HEADER_BYTES
      item:add(fields["dmmp.undissected"], tvb(HEADER_BYTES, there))
    end
    return string.format("option 0x%04x", header.option)
  end
  item:append_text(", " .. what.name)
  if inside then check_place(header, inside, header.item) end
  local size = tvb:reported_len()
  if what.bytes and not context.is_quoted and (size < what.bytes[1] or size > what.bytes[2]) then
    flag(item, "datagram_size")
  end
  local cursor = {tvb = tvb, at = HEADER_BYTES, stop = stop, pinfo = pinfo, endpoints = {}}
  local body, items, is_whole = read_body(cursor, item, what, header)
  if cursor.at < tvb:len() and not header.is_cut then
    item:add(fields["dmmp.undissected"], tvb(cursor.at))
  end
  local said = summary_of(what, header, body)
  if is_whole then
    if not context.is_quoted then
      show_relation(relate(what, header, body, pinfo, context), item, header.item)
    end
    local within = read_inside(cursor, item, what, header, items, root, context)
    if within ~= "" then said = said .. ": " .. within end
  end
  return said, cursor.endpoints
end

-- Length of the datagram that begins here, nil if none does.
local function announced(tvb, at)
  if at + HEADER_BYTES > tvb:len() or tvb(at, 1):uint() ~= VERSION then return nil end
  if tvb(at + 4, 4):uint() == STUN_COOKIE then return nil end
  return HEADER_BYTES + tvb(at + 20, 4):uint()
end

-- Where datagrams end, if several fill this exactly: the kernel captures a batch as one frame.
local function ends_of_batch(tvb)
  local ends, at = {}, 0
  while at < tvb:reported_len() do
    local size = announced(tvb, at)
    if not size or at + size > tvb:len() then return {tvb:len()} end
    at = at + size
    ends[#ends + 1] = at
  end
  return ends
end

-- An ICMP error quotes what it is about, or the beginning of it: nobody sends that again.
local icmp_type, icmpv6_type = Field.new("icmp.type"), Field.new("icmpv6.type")

function dmmp.dissector(tvb, pinfo, root)
  if tvb:len() == 0 or tvb:len() >= 8 and tvb(4, 4):uint() == STUN_COOKIE then return 0 end
  local source, destination = pinfo.src, pinfo.dst
  local source_port, destination_port = pinfo.src_port, pinfo.dst_port
  local context, said, at = {messages = 0}, {}, 0
  context.is_quoted = icmp_type() ~= nil or icmpv6_type() ~= nil
  local ends = ends_of_batch(tvb)
  context.batch = #ends > 1 and #ends
  for _, stop in ipairs(ends) do
    local part = #ends == 1 and tvb or tvb(at, stop - at):tvb()
    said[#said + 1] = dissect_datagram(part, pinfo, root, root, context)
    if context.carried then
      pinfo.src, pinfo.dst = source, destination
      pinfo.src_port, pinfo.dst_port = source_port, destination_port
    end
    at = stop
  end
  pinfo.cols.protocol = "DMMP"
  pinfo.cols.info = table.concat(said, " | ", 1, math.min(#said, 3))
    .. (#said > 3 and " | " .. #said - 3 .. " more" or "")
  return tvb:len()
end

-----------------------------------------------------------------------------------------------
-- 13  Wireshark: ports, recognition elsewhere, preferences

-- Is this DMMP? Version, length and option have to fit, and what must not be 0 is not.
local function recognise(tvb, pinfo, root)
  if announced(tvb, 0) == nil then return false end
  local what = messages[tvb(2, 2):uint()]
  local ends = ends_of_batch(tvb)
  if not what or #ends == 1 and announced(tvb, 0) ~= tvb:reported_len() then return false end
  local session, source = tvb(4, 4):uint(), tvb(8, 4):uint()
  if not what.session and session == 0 or what.session == "none" and session ~= 0
    or what.source == "some" and source == 0 then
    return false
  end
  dmmp.dissector(tvb, pinfo, root)
  -- What comes between these two later may be broken, and shall be seen all the same.
  pinfo.conversation = dmmp
  return true
end

dmmp:register_heuristic("udp", recognise)

local ports, port_table = "47700", DissectorTable.get("udp.port")
port_table:add(ports, dmmp)

function dmmp.prefs_changed()
  if dmmp.prefs.udp_ports ~= ports then
    if ports ~= "" then port_table:remove(ports, dmmp) end
    ports = dmmp.prefs.udp_ports
    if ports ~= "" then port_table:add(ports, dmmp) end
  end
  if dmmp.prefs.keylog_file ~= key_log.path then
    key_log.path = dmmp.prefs.keylog_file
    key_log.forget()
  end
end

function dmmp.init() -- another capture begins
  sent, relations = {}, {}
  key_log.forget()
end
