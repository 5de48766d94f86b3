-- Binary data: a Lua string holds any bytes, and what is stored comes back as it was. A second of a tone is made as a
-- WAV file, stored, read in part, packed, unpacked and written to disk.
--
--   llmspellfs run examples/lua/binary.lua [FILE.wav [HERTZ]]

local RATE, AMPLITUDE = 8000, 12000
local target, hertz = arg[1] or "tone.wav", tonumber(arg[2] or 440)
if not hertz then
    io.stderr:write("usage: binary.lua [FILE.wav [HERTZ]]\n")
    os.exit(2)
end

-- http://soundfile.sapp.org/doc/WaveFormat/: a header of 44 bytes, then 16-bit samples.
local function wav(samples)
    local data = {}
    for place, sample in ipairs(samples) do data[place] = string.pack("<i2", sample) end
    local bytes = table.concat(data)
    local header = string.pack("<c4 I4 c4 c4 I4 I2 I2 I4 I4 I2 I2 c4 I4",
        "RIFF", 36 + #bytes, "WAVE", "fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16, "data", #bytes)
    return header .. bytes
end

local samples = {}
for place = 1, RATE do
    samples[place] = math.floor(AMPLITUDE * math.sin(2 * math.pi * hertz * place / RATE))
end

local session = Session.create({name = "Tone of " .. hertz .. " Hz"})
local ok, why = pcall(function()
    local id = Artifact.store(session, "agent_output", "tone.wav", wav(samples), {
        mime_type = "audio/x-wav", hertz = hertz, tags = {"sound"}
    })

    -- Only the header is read; of a large artifact only the chunks that hold what is asked for are decoded.
    local rate, bytes_a_second = string.unpack("<I4 I4", Artifact.getContent(session, id, 24, 8))
    print(rate .. " samples a second, " .. bytes_a_second .. " bytes a second")

    local tone = Artifact.get(session, id).content
    local hashed = Tool.execute("hash-calculator", {operation = "hash", algorithm = "blake3", input = tone})
    assert(hashed.result == id.content_hash, "the id holds the hash of the content")

    local packed = Tool.execute("compression", {operation = "compress", algorithm = "zstd", input = tone})
    if not packed.success then error(packed.error, 0) end
    Artifact.store(session, "tool_result", "tone.wav.zst", packed.result, {original_size = #tone})
    local unpacked = Tool.execute("compression", {operation = "decompress", algorithm = "zstd", input = packed.result})
    assert(unpacked.result == tone, "what is unpacked is what was packed")

    Artifact.saveToFile(session, id, target)
    print(("%s: %d bytes, packed %d"):format(target, #tone, #packed.result))
end)
if not ok then
    Session.fail(session, tostring(why))
    error(why, 0)
end
Session.complete(session)
