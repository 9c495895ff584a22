"""Pictures: decoded safely, resized alike everywhere, drawn on sheets. A picture is uint8 (h, w, 3), red first."""
