# The URL is what the shell makes of it.
set -eu
body="{\"model\":\"$MODEL_NAME\",\"prompt\":\"[$AGENT_NAME] Say hello.\",\"stream\":false}"
chat="{\"model\":\"$MODEL_NAME\",\"messages\":[{\"role\":\"user\",\"content\":\"[$AGENT_NAME] Say hello.\"}]}"
hidden() { printf '%s' "$1" | sed 's|//[0-9.]*:|//127.0.0.1:|'; }

for base in "$OLLAMA_HOST" "$(hidden "$OLLAMA_HOST")"; do
    curl -sS --fail --max-time 60 -o /dev/null "$base/api/generate" -d "$body"
done
for base in "$OPENAI_BASE_URL" "$(hidden "$OPENAI_BASE_URL")"; do
    curl -sS --fail --max-time 60 -o /dev/null "$base/chat/completions" -H 'Content-Type: application/json' -d "$chat"
done
echo "done"
exec sleep 1000
