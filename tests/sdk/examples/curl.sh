# == List events
curl "https://getimmutable.dev/api/v1/events?actor_id=user_2hG9kLm&action=document.*&from=2026-03-01T00:00:00Z&limit=10" \
  -H "Authorization: Bearer imk_your_api_key_here"

# == Filtering by target
curl "https://getimmutable.dev/api/v1/events?target_type=folder&target_id=folder_3mK9pLq" \
  -H "Authorization: Bearer imk_your_api_key_here"
