-- Publish and subscribe. A message is an artifact, so it is there for those who come later; an event tells those who
-- wait; and what was handled is kept in State, so that of several followers one handles each message, once.
--
--   llmspellfs run examples/lua/pubsub.lua follow weather 60      # in one terminal; ends after 60 quiet seconds
--   llmspellfs run examples/lua/pubsub.lua publish weather rain   # in another

local function publish(topic, text)
    local session = Session.create({name = "Publisher-" .. topic, tags = {"publisher", topic}})
    local message = JSON.stringify({topic = topic, text = text, published_at = os.time()})
    Artifact.store(session, "system_generated", "message.json", message, {tags = {"message", topic}})
    Session.complete(session)
    Event.publish("topic." .. topic)
end

-- True for the first follower that asks, of all processes.
local function claim(topic, session)
    local is_mine
    State.update("handled:" .. topic, function(handled)
        handled = handled or {}
        is_mine = not handled[session]
        handled[session] = true
        return handled
    end)
    return is_mine
end

local function handle_new(topic)
    for _, publisher in ipairs(Session.list({tags = {"publisher", topic}, status = "completed"})) do
        if claim(topic, publisher.id) then
            local message = JSON.parse(Artifact.get(publisher.id, "message.json").content)
            print(topic .. ": " .. message.text)
        end
    end
end

-- Subscribed before the first look, so that nothing falls between the two.
local function follow(topic, seconds)
    local subscription = Event.subscribe("topic." .. topic)
    repeat handle_new(topic) until not Event.receive(subscription, seconds)
    Event.unsubscribe(subscription)
end

local action, topic, last = ...
if action == "follow" then last = last or 0 end
if action == "publish" and topic and last then
    publish(topic, last)
elseif action == "follow" and topic and tonumber(last) then
    follow(topic, tonumber(last))
else
    io.stderr:write("usage: pubsub.lua publish TOPIC TEXT | follow TOPIC [SECONDS]\n")
    os.exit(2)
end
