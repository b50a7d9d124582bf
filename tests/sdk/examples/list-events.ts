let cursor: string | undefined;
do {
  const page = await client.getEvents({ cursor, limit: 100 });
  for (const event of page.data) {
    process(event);
  }
  cursor = page.pagination.has_more ? page.pagination.next_cursor : undefined;
} while (cursor);
